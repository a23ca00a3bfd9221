//! Coding, correcting and watching in a real browser: by keyboard, and with tabs, servers and files that go away.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::browser::{Browser, Look};
use crate::project::Project;
use crate::serve::{Site, code, get, live, project, send, sheet, tones};

const WIDTHS: [u32; 2] = [360, 1600];

/// Opens an address as on a large screen.
#[track_caller]
fn open(browser: &mut Browser, address: &str) {
    let opened = browser.open(address, Look { width: 1600, ..Look::default() });
    let origin = address.split('/').take(3).collect::<Vec<_>>().join("/");
    // The page of another test may have asked its server, which has ended, for its state.
    let is_own = |line: &&String| line.contains(&origin) || !line.contains("/state");
    let console: Vec<&String> = opened.console.iter().filter(is_own).collect();
    assert!(console.is_empty(), "{console:?}");
    let mut requests = opened.requests.iter().filter(is_own);
    assert!(requests.all(|request| request.starts_with(&origin)), "{:?}", opened.requests);
}

/// Opens a sheet or corrections, and waits until rows are there.
#[track_caller]
fn open_rows(browser: &mut Browser, address: &str) {
    open(browser, address);
    browser.waits_for("document.querySelector('fieldset')");
}

/// Checks a page at all widths, in light and dark, and keeps pictures of it.
#[track_caller]
fn is_usable(browser: &mut Browser, name: &str, address: &str) {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&pictures).expect("a folder");
    for (width, dark) in [(WIDTHS[0], true), (WIDTHS[1], false)] {
        browser.open(address, Look { width, dark, print: false });
        browser.waits_for("document.querySelector('fieldset, .live-stage')");
        let wide = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wide, 0, "{name} at {width}");
        assert_eq!(browser.barriers(), Vec::<Value>::new(), "{name} at {width}");
        browser.picture(&pictures.join(format!("{name}-{width}.png")));
    }
}

fn alert(browser: &mut Browser) -> String {
    let text = browser.script("const box = document.getElementById('alert'); return box.hidden ? '' : box.innerText");
    text.as_str().expect("a text").to_owned()
}

/// Clicks the button of the warning with this name.
#[track_caller]
fn click(browser: &mut Browser, name: &str) {
    let name = json!(name);
    let found = browser.script(&format!(
        "const all = [...document.querySelectorAll('button')]; \
         const found = all.find((one) => one.textContent.includes({name})); found?.click(); return Boolean(found)"
    ));
    assert_eq!(found, true, "a button {name}");
}

#[track_caller]
fn waits_for_saved(browser: &mut Browser) {
    browser.waits_for("document.getElementById('saved').textContent === 'All codes are saved.' && !early.length");
}

/// The codes in a file with a column `tone` before the last one.
fn codes(project: &Project) -> Vec<String> {
    let text = project.text("coding/anna.csv");
    text.lines().skip(1).map(|line| line.rsplit(',').nth(1).unwrap_or_default().to_owned()).collect()
}

#[test]
fn fifty_rows_are_coded_by_keyboard_and_none_is_lost() {
    let Some(mut browser) = Browser::or_skip("fifty_rows_are_coded_by_keyboard_and_none_is_lost") else { return };
    let browser = &mut *browser;
    let project = project(50);
    let site = Site::of(&project);
    is_usable(browser, "coding", &site.sheets[0]);
    let first = browser.tab(None);
    open_rows(browser, &site.sheets[0]);
    let wanted: Vec<&str> = (0..50).map(|row| ["glad", "sad"][row % 2]).collect();
    let keys = |from: usize, to: usize| (from..to).map(|row| ["1", "2"][row % 2]).collect::<Vec<_>>();
    browser.keys(&keys(0, 20));
    waits_for_saved(browser);
    // The tab is lost, and the sheet is opened again.
    let second = browser.tab(None);
    browser.tab(Some(&first));
    browser.close_tab(&second);
    open_rows(browser, &site.sheets[0]);
    assert_eq!(browser.script("return document.getElementById('progress').textContent"), "20 of 50 rows coded.");
    assert_eq!(browser.script("return document.getElementById('row').textContent"), "Row 21 of 50: s21");
    // Letters find a label. Undo goes back to the row before, and a code can be removed.
    browser.keys(&["g", "Enter"]);
    browser.waits_for("document.getElementById('row').textContent === 'Row 22 of 50: s22'");
    browser.keys(&["Backspace"]);
    browser.waits_for("document.getElementById('row').textContent === 'Row 21 of 50: s21'");
    browser.keys(&["s", "Backspace", "g", "l", "Enter", "2", "ArrowLeft", "Delete", "2"]);
    browser.waits_for("document.getElementById('row').textContent === 'Row 23 of 50: s23'");
    waits_for_saved(browser);
    assert_eq!(codes(&project)[..23], [&wanted[..22], &[""][..]].concat());
    // The server is killed while a person codes.
    browser.keys(&keys(22, 35));
    site.running.kill();
    browser.keys(&keys(35, 40));
    browser.waits_for("!document.getElementById('alert').hidden");
    let text = alert(browser);
    assert!(text.contains("Not saved yet: s") && text.contains("start it again"), "{text}");
    let saved = codes(&project).iter().filter(|code| !code.is_empty()).count();
    let shown = browser.script("return sheet.rows.filter(isCoded).length").as_u64().expect("a number") as usize;
    assert!((22..=36).contains(&saved) && shown <= saved + 1, "{saved} saved, {shown} shown");
    browser.keys(&["1", "1"]);
    assert_eq!(browser.script("return sheet.rows.filter(isCoded).length"), shown, "the page takes no more codes");
    let site = Site::of(&project);
    let third = browser.tab(None);
    browser.tab(Some(&second));
    browser.close_tab(&third);
    open_rows(browser, &site.sheets[0]);
    assert_eq!(browser.script("return sheet.rows.filter(isCoded).length"), saved);
    browser.keys(&keys(saved, 50));
    waits_for_saved(browser);
    assert_eq!(codes(&project), wanted);
    // Even a note that is being written when its tab is closed is saved.
    browser.keys(&["ArrowDown"]);
    browser.types("last words");
    let last = browser.tab(None);
    browser.tab(Some(&third));
    browser.close_tab(&last);
    let start = Instant::now();
    while !project.text("coding/anna.csv").ends_with(",sad,last words\n") {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", project.text("coding/anna.csv"));
    }
    site.end();
}

#[test]
fn a_page_that_is_late_overwrites_nothing() {
    let Some(mut browser) = Browser::or_skip("a_page_that_is_late_overwrites_nothing") else { return };
    let browser = &mut *browser;
    let project = project(6);
    let (site, other) = (Site::of(&project), Site::of(&project));
    open_rows(browser, &site.sheets[0]);
    browser.keys(&["1"]);
    waits_for_saved(browser);
    // The page of another server codes the same row and the next one.
    let mut version = sheet(&other.sheets[0])["version"].clone();
    for row in [0, 1] {
        let reply = code(&other.sheets[0], &version, row, ("tone", "sad"));
        version = serde_json::from_str::<Value>(&reply.body).expect("JSON")["version"].clone();
    }
    browser.keys(&["1"]);
    browser.waits_for("!document.getElementById('alert').hidden");
    let text = alert(browser);
    assert!(text.contains("has changed") && text.contains("Not saved: s2: tone = glad"), "{text}");
    browser.keys(&["1", "1"]);
    assert_eq!(codes(&project), ["sad", "sad", "", "", "", ""]);
    click(browser, "Load the file again");
    browser.waits_for("document.getElementById('alert').innerText.includes('Not in the file: s2')");
    assert_eq!(browser.script("return sheet.rows.map((row) => row.codes[0]).join()"), "sad,sad,,,,");
    click(browser, "Drop it");
    browser.keys(&["2"]);
    waits_for_saved(browser);
    assert_eq!(codes(&project), ["sad", "sad", "sad", "", "", ""]);
    // A person saves the file in an editor, and wants the code of the page too.
    project.write("coding/anna.csv", project.text("coding/anna.csv").replace("sad,", "glad,"));
    browser.keys(&["2"]);
    browser.waits_for("!document.getElementById('alert').hidden");
    click(browser, "Load the file again");
    browser.waits_for("document.getElementById('alert').innerText.includes('Not in the file: s4')");
    click(browser, "Save it");
    waits_for_saved(browser);
    assert_eq!(codes(&project), ["glad", "glad", "glad", "sad", "", ""]);
    // A spreadsheet program has the file open: the page waits until it is closed there.
    project.write("coding/.~lock.anna.csv#", "Anna");
    browser.keys(&["1"]);
    browser.waits_for("document.getElementById('alert').innerText.includes('is open in a spreadsheet program')");
    assert_eq!(codes(&project)[4], "");
    fs::remove_file(project.path("coding/.~lock.anna.csv#")).expect("the lock is there");
    waits_for_saved(browser);
    assert_eq!((codes(&project)[4].as_str(), alert(browser).as_str()), ("glad", ""));
    site.end();
    other.end();
}

/// Twelve topics, a scale from 0 to 10 and a note, in a file of this format.
fn many(format: &str) -> Project {
    let spec = r#"name = "topics"
sources.sentences = { type = "file", path = "sentences.csv", key = "id" }
sources.coded = { type = "file", path = "anna.FORMAT", key = "id" }
outputs.coded = { input = "coded", path = "coded.csv" }

[outputs.anna]
input = "sentences"
path = "anna.FORMAT"
columns = ["id", "text"]
keep = true
blind = true

[outputs.anna.fill]
topic = ["Health", "Housing", "Jobs", "Defence", "Justice", "Schools", "Traffic", "Climate", "Energy", "Farming", "Culture", "Public health"]
score = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]
note = []
"#;
    let text = "id,text\n1,<img src=x onerror=alert(1)>\n2,\"<script>alert(1)</script>, so\"\n3,=1+1\n";
    let project = Project::new().spec(&spec.replace("FORMAT", format)).file("sentences.csv", text);
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}

#[test]
fn many_labels_scales_and_notes_are_coded_by_keyboard() {
    let Some(mut browser) = Browser::or_skip("many_labels_scales_and_notes_are_coded_by_keyboard") else { return };
    let browser = &mut *browser;
    for format in ["csv", "xlsx"] {
        let project = many(format);
        let site = Site::spawned(&project, &["report", "--serve", "pipeline.toml"], 2);
        is_usable(browser, &format!("coding-many-{format}"), &site.sheets[0]);
        open_rows(browser, &site.sheets[0]);
        assert_eq!(
            browser.script("return document.querySelector('#cells dd').textContent"),
            "<img src=x onerror=alert(1)>"
        );
        // A digit is the place of a topic, but the number of a score.
        browser.keys(&["9", "7"]);
        browser.waits_for("document.getElementById('row').textContent.includes('Row 2')");
        // The third topic with `h` in it, and 1 instead of 10.
        browser.types("pub");
        browser.waits_for("document.querySelector('button.first')?.textContent === 'Public health'");
        browser.keys(&["Enter", "1", "Enter"]);
        browser.waits_for("document.getElementById('row').textContent.includes('Row 3')");
        // First the note, below two columns; Enter ends it.
        browser.keys(&["ArrowUp"]);
        browser.types("=1+1; \"so\"");
        browser.keys(&["Enter", "q", "h", "o", "Enter", "1", "0"]);
        waits_for_saved(browser);
        assert_eq!(
            browser.script("return sheet.rows.map((row) => row.codes)"),
            json!([["Energy", "7", ""], ["Public health", "1", ""], ["Housing", "10", "=1+1; \"so\""]])
        );
        // Undo takes back the score, the topic and the note of the last row, and then the score of the row before.
        browser.keys(&["Backspace", "Backspace", "Control+z", "Backspace"]);
        waits_for_saved(browser);
        assert_eq!(
            browser.script("return sheet.rows.map((row) => row.codes.join())"),
            json!(["Energy,7,", "Public health,,", ",,"])
        );
        assert_eq!(browser.script("return document.getElementById('row').textContent"), "Row 2 of 3: 2");
        browser.keys(&["3"]);
        browser.waits_for("document.getElementById('row').textContent.includes('Row 3')");
        browser.keys(&["ArrowUp"]);
        browser.types("=1+1");
        browser.keys(&["Escape"]);
        waits_for_saved(browser);
        site.end();
        project.run(&["run", "pipeline.toml"]).exits(0);
        let coded = project.text("coded.csv");
        let mut lines = coded.lines();
        assert_eq!(lines.next(), Some("id,text,topic,score,note"));
        for end in [",Energy,7,", ",Public health,3,", ",,,=1+1"] {
            let line = lines.next().unwrap_or_default();
            assert!(line.ends_with(end), "{format}: {line}");
        }
    }
}

#[test]
fn corrections_are_made_by_keyboard_and_none_is_lost() {
    let Some(mut browser) = Browser::or_skip("corrections_are_made_by_keyboard_and_none_is_lost") else { return };
    let browser = &mut *browser;
    let server = tones(0);
    let project = live(&server, 60);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let site = Site::spawned(&project, &["report", "--serve", "pipeline.toml"], 1);
    let page = |site: &Site| format!("{}correct?stage=tone", site.report);
    let first = browser.tab(None);
    is_usable(browser, "corrections", &page(&site));
    open_rows(browser, &page(&site));
    browser.script("document.getElementById('by').value = 'Anna'; document.querySelector('#rows select').focus()");
    // The label, the reason, the button and the score of the first row, in the order of the keys.
    browser.keys(&["s", "Tab"]);
    browser.types("irony");
    browser.keys(&["Tab"]);
    browser.waits_for("document.getElementById('saved').textContent.includes('Saved tone of r1')");
    let file = || project.text("corrections.csv").lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    browser.waits_for("document.querySelector('#rows fieldset').innerText.includes('corrected by Anna')");
    assert_eq!(file(), ["r1,tone,sad,Anna,irony"]);
    // The server is killed. The page keeps the correction that it could not save, and takes no other.
    let score = "document.querySelectorAll('#rows fieldset')[1].querySelector('input')";
    site.running.kill();
    browser.script(&format!("{score}.focus(); {score}.select()"));
    browser.keys(&["5", "Tab"]);
    browser.waits_for("document.getElementById('alert').innerText.includes('Not saved yet: r1: score = 5')");
    assert_eq!(browser.script("return document.getElementById('main').inert"), true);
    assert_eq!(file(), ["r1,tone,sad,Anna,irony"]);
    let (site, other) = (
        Site::spawned(&project, &["report", "--serve", "pipeline.toml"], 1),
        Site::spawned(&project, &["report", "--serve", "pipeline.toml"], 1),
    );
    let next = browser.tab(None);
    browser.tab(Some(&first));
    browser.close_tab(&next);
    open_rows(browser, &page(&site));
    assert_eq!(browser.script("return document.querySelector('#rows select').value"), "sad");
    // The page of another server adds a correction: this page overwrites nothing.
    let known: Value =
        serde_json::from_str(&get(&format!("{}corrections?stage=tone", other.report)).body).expect("JSON");
    let body = json!({ "version": known["version"], "row": "r2", "column": "tone", "value": "sad", "by": "Ben" });
    assert_eq!(send("POST", &format!("{}correction?stage=tone", other.report), &[], &body.to_string()).status, 200);
    browser.script(&format!("{score}.focus(); {score}.select()"));
    browser.keys(&["4", "Tab"]);
    browser.waits_for("document.getElementById('alert').innerText.includes('has changed')");
    assert_eq!(file(), ["r1,tone,sad,Anna,irony", "r2,tone,sad,Ben,"]);
    click(browser, "Load the file again");
    browser.waits_for("document.getElementById('alert').innerText.includes('Not in the file: r1: score = 4')");
    click(browser, "Save it");
    browser.waits_for("document.getElementById('saved').textContent.includes('Saved score of r1')");
    assert_eq!(file(), ["r1,tone,sad,Anna,irony", "r2,tone,sad,Ben,", "r1,score,4,,"]);
    browser.waits_for(&format!("{score}.value === '4'"));
    click(browser, "Remove the correction");
    browser.waits_for("document.getElementById('saved').textContent.includes('Removed')");
    assert_eq!(file(), ["r2,tone,sad,Ben,", "r1,score,4,,"]);
    site.end();
    other.end();
}

#[test]
fn a_run_is_watched_and_stopped_in_the_browser() {
    let Some(mut browser) = Browser::or_skip("a_run_is_watched_and_stopped_in_the_browser") else { return };
    let browser = &mut *browser;
    // The run must take longer than the pictures of its page.
    let server = tones(400);
    let project = live(&server, 300);
    let site = Site::spawned(&project, &["run", "--serve", "pipeline.toml"], 1);
    site.wait(|run| run["stages"][0]["failed_rows"].as_u64() > Some(0));
    is_usable(browser, "live", &site.report);
    open(browser, &site.report);
    browser.waits_for("document.querySelector('.live-stage strong')");
    let failed = browser.script("return document.querySelector('.live-stage strong').textContent");
    assert_eq!(failed, "\u{26a0} 1 failed", "a mark and a word, not only a colour");
    let budget = browser.script("return document.getElementById('live-budget').innerText");
    let budget = budget.as_str().expect("a text");
    assert!(
        budget.contains("of 500") && budget.contains("requests of all runs") && budget.contains("of 2,000"),
        "{budget}"
    );
    click(browser, "Stop the run");
    browser.waits_for("document.getElementById('live-state').innerText.includes('has ended with exit code 130')");
    let state = browser.script("return document.getElementById('live-state').innerText");
    assert!(state.as_str().is_some_and(|text| text.contains("To continue: fanfold run pipeline.toml")), "{state}");
    let start = Instant::now();
    is_usable(browser, "live-stopped", &site.report);
    assert!(start.elapsed() < Duration::from_secs(120));
    site.running.sigint();
    site.running.wait().exits(130);
}
