//! The faults that fanfold must survive, each with the tests that show what happens, or the reason why it can't happen.
//!
//! A test is named as in its source, in `src` or here; the test below checks that it exists. To add a fault: add a row.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use Shown::{Here, Not, Tests};

/// The evidence that a fault does no harm.
enum Shown {
    /// By these tests.
    Tests(&'static [&'static str]),
    /// By these tests in part, and the open part.
    Here(&'static [&'static str], &'static str),
    /// By a reason.
    Not(&'static str),
}

const FAULTS: [(u8, &str, Shown); 48] = [
    (
        1,
        "killed at any moment",
        Tests(&[
            "sigkill_at_several_moments_of_a_split",
            "sigkill_at_several_moments_of_a_fan_out",
            "sigkill_again_and_again",
            "sigkill_between_the_answers_and_the_table",
            "killed_in_the_middle_of_interviews_it_goes_on_to_the_same_table",
            "sigkill_at_some_random_moments",
            "several_stages_survive_a_kill_after_each_answer",
        ]),
    ),
    (
        2,
        "power lost, commits torn",
        Tests(&["ledgers_of_the_corpus", "a_sync_that_fails_stops_the_run_and_loses_nothing"]),
    ),
    (3, "disk full", Tests(&["a_full_disk_stops_the_run_and_space_lets_it_go_on"])),
    (
        4,
        "signals, once and twice",
        Here(
            &["sigint_drains_and_the_next_run_goes_on", "sigterm_drains_too", "a_second_sigint_aborts"],
            "SIGHUP is handled as SIGTERM is and has no separate test",
        ),
    ),
    (
        5,
        "two runs at once",
        Tests(&[
            "two_runs_may_not_write_one_output",
            "two_processes_share_one_ledger",
            "the_error_names_the_process_that_holds_the_lock",
        ]),
    ),
    (
        6,
        "ledger or lock file corrupted",
        Tests(&[
            "a_wrong_byte_anywhere_serves_no_wrong_answer",
            "a_page_of_zeros_costs_only_what_it_held",
            "answers_that_change_places_are_not_served",
            "a_torn_tail_costs_only_the_tail",
            "a_corrupt_answer_is_asked_again",
            "a_damaged_file_is_salvaged",
            "a_newer_format_is_refused",
            "ledgers_of_the_corpus",
        ]),
    ),
    (
        7,
        "table between stages corrupted",
        Tests(&["a_part_that_was_damaged_is_made_anew_from_the_ledger", "damaged_files_are_errors_and_never_panics"]),
    ),
    (
        8,
        "server silent, dripping or stalled",
        Tests(&["silence_and_dripping_meet_the_deadline", "a_silent_server_fails_its_row_after_the_deadline"]),
    ),
    (
        9,
        "connection refused, reset, no TLS, no such host",
        Tests(&[
            "lost_connections_are_outages",
            "a_server_without_the_tls_it_should_have_is_an_outage",
            "a_server_that_is_down_is_an_environment_error",
            "transient_faults_are_retried",
        ]),
    ),
    (
        10,
        "429 with every kind of Retry-After",
        Tests(&[
            "one_429_holds_back_the_whole_endpoint",
            "retry_after_is_seconds_or_a_date",
            "retry_after_is_a_floor_with_jitter_above",
            "the_wait_and_the_quota_stand_in_googles_details",
            "a_key_or_a_quota_that_ends_during_a_run_stops_it",
        ]),
    ),
    (
        11,
        "storms of 5xx, outages",
        Tests(&[
            "a_run_waits_for_the_end_of_an_outage_and_no_row_fails",
            "an_outage_stops_the_run_with_on_outage_stop",
            "server_errors_for_some_rows_are_not_an_outage",
            "a_run_that_only_fails_stops_early",
        ]),
    ),
    (
        12,
        "requests that no server takes (4xx)",
        Tests(&[
            "a_failed_row_is_an_error_cell_and_stops_nothing",
            "the_same_400_from_the_first_row_on_stops_the_run",
            "a_key_that_is_not_accepted_stops_the_run_at_once",
            "what_cannot_get_better_is_not_tried_again",
        ]),
    ),
    (
        13,
        "body cut short, in every framing",
        Tests(&[
            "bodies_that_end_early_are_lost_connections_or_truncated",
            "replies_are_read_with_their_end",
            "transient_faults_are_retried",
        ]),
    ),
    (
        14,
        "body is garbage",
        Tests(&[
            "garbage_from_a_server_is_an_error_of_its_row",
            "bodies_of_ollama_of_the_corpus",
            "bodies_of_openai_of_the_corpus",
            "bodies_of_anthropic_of_the_corpus",
            "bodies_of_gemini_of_the_corpus",
            "broken_replies_have_their_class",
        ]),
    ),
    (15, "body without end", Tests(&["endless_bodies_are_cut_off"])),
    (16, "compressed bomb", Tests(&["compressed_bodies_are_not_asked_for_and_not_unpacked"])),
    (
        17,
        "reply cut off, filtered, refused, empty",
        Tests(&[
            "a_truncated_reply_is_never_an_answer",
            "a_withheld_reply_is_an_error_cell",
            "a_refusal_says_what_was_said",
            "what_is_withheld_is_refused_with_its_reason",
            "a_fan_out_over_both_handles_all_their_errors",
        ]),
    ),
    (
        18,
        "reply is not JSON, or not what was asked for",
        Tests(&[
            "json_is_found_in_prose_fences_and_after_thinking",
            "half_answers_are_no_answers",
            "an_invalid_reply_is_asked_again_with_the_reason",
            "a_reply_that_is_never_valid_fails_after_max_attempts",
            "garbage_from_a_model_is_an_error_of_its_row",
        ]),
    ),
    (
        19,
        "clock jumps",
        Here(
            &["a_refused_call_delays_all_calls_of_its_model", "retry_after_is_seconds_or_a_date"],
            "waits and deadlines run on the monotonic clock; the wall clock only turns a date of Retry-After into a wait of an hour at most, and is shown",
        ),
    ),
    (
        20,
        "CSV that is broken or foreign",
        Tests(&[
            "ragged_rows",
            "what_is_no_text",
            "declared_encodings",
            "headers_that_name_no_columns",
            "a_header_alone_is_a_table_without_rows",
            "an_open_quote_is_named_where_its_row_begins",
            "a_field_without_end_stops_at_the_limit",
            "no_bytes_panic",
            "bad_input_is_reported_and_nothing_is_sent",
        ]),
    ),
    (
        21,
        "types guessed wrong",
        Tests(&[
            "a_column_gets_the_narrowest_type_that_keeps_its_values",
            "numbers_that_would_lose_digits_stay_text",
            "cells_stay_as_they_are_written",
            "input_columns_stay_unchanged",
        ]),
    ),
    (22, "files of Stata and SPSS", Not("these formats are not read yet")),
    (
        23,
        "tables larger than memory",
        Here(
            &[
                "batches_are_bounded",
                "long_texts_end_a_batch_early_and_the_limit_is_exact",
                "wide_tables_have_small_batches",
            ],
            "the memory of a large run is measured by a benchmark, not by a test",
        ),
    ),
    (
        24,
        "Parquet that lies about its sizes",
        Tests(&[
            "a_page_that_lies_about_its_size_is_refused_before_it_costs_memory",
            "damaged_files_are_errors_and_never_panics",
            "files_that_are_no_parquet",
        ]),
    ),
    (
        25,
        "specs made by a fuzzer",
        Tests(&[
            "specs_of_the_corpus",
            "templates_of_the_corpus",
            "every_target_is_tested_and_has_its_program",
            "every_file_has_its_test_and_its_twin",
        ]),
    ),
    (
        26,
        "spec bombs",
        Tests(&[
            "bombs_are_refused_at_once",
            "deep_nesting_is_refused",
            "a_file_of_data_is_no_spec",
            "spec_bombs_are_refused_in_little_memory",
        ]),
    ),
    (
        27,
        "template bombs",
        Tests(&[
            "bombs_are_refused_soon_on_a_small_stack",
            "a_template_bomb_fails_its_row_and_names_the_line",
            "templates_of_the_corpus",
            "loops_without_end_run_out_of_fuel",
        ]),
    ),
    (
        28,
        "template signs in a row's text",
        Tests(&["no_text_is_ever_a_template", "cells_stand_where_the_template_says_and_are_never_parsed"]),
    ),
    (
        29,
        "orders to the model in a row's text",
        Here(
            &["instructions_in_a_text_change_only_the_answers_of_its_row"],
            "a plan does not warn of a column in the system prompt yet",
        ),
    ),
    (
        30,
        "paths that lead out of the project",
        Here(
            &["paths_that_leave_the_folder_are_seen", "a_link_out_of_the_folder_is_followed", "path_outside"],
            "a path is the spec's alone, no row is ever part of one; a link that is swapped during a run is not tested",
        ),
    ),
    (
        31,
        "templates and schemas that name files or servers",
        Here(
            &["bombs_are_refused_soon_on_a_small_stack"],
            "templates have no loader, so that `include` finds nothing; a JSON Schema is made by us and never read from a spec",
        ),
    ),
    (32, "harmful SQL", Not("no stage takes SQL yet")),
    (
        33,
        "formulas for spreadsheets in a cell",
        Here(
            &["csv_and_jsonl_contain_the_cells"],
            "outputs are data and are not changed for spreadsheets; there are no reports for them yet",
        ),
    ),
    (34, "scripts in an HTML report", Not("there is no HTML report yet")),
    (
        35,
        "escape sequences for the terminal",
        Tests(&[
            "foreign_text_never_controls_the_terminal",
            "control_characters_are_replaced",
            "a_text_cannot_command_the_terminal",
            "cells_cannot_control_the_terminal",
            "messages_are_safe_to_show",
        ]),
    ),
    (36, "redirects", Tests(&["redirects_are_refused_and_name_the_host_only"])),
    (
        37,
        "connections that others can read",
        Here(
            &[
                "keys_travel_in_clear_only_at_home",
                "bad_fields_are_all_reported",
                "a_server_without_the_tls_it_should_have_is_an_outage",
            ],
            "certificates are checked by rustls against the system's roots and can't be waved through; no test makes a false one",
        ),
    ),
    (
        38,
        "keys in what a run leaves or prints",
        Tests(&[
            "the_key_of_a_run_is_sent_and_not_stored",
            "the_canary_is_found_in_every_form_and_kind_of_file",
            "a_key_that_is_left_in_a_project_fails_its_test",
            "requests_follow_both_protocols_and_no_file_contains_the_keys",
            "literal_key",
        ]),
    ),
    (
        39,
        "environment variables that a spec takes out",
        Tests(&[
            "environment_variables_are_read_only_by_name",
            "a_missing_key_is_an_environment_error",
            "what_the_environment_lacks_is_named",
            "names_of_variables_are_not_keys",
        ]),
    ),
    (
        40,
        "a spec that sends a key to a stranger",
        Here(
            &[
                "the_key_of_a_home_goes_to_that_home_only",
                "a_spec_does_not_send_a_well_known_key_elsewhere",
                "a_well_known_key_is_not_sent_where_a_spec_says",
            ],
            "a variable that no service is known by goes where the spec says",
        ),
    ),
    (
        41,
        "weights that are cut off or made up",
        Tests(&[
            "a_file_that_is_cut_off",
            "bytes_that_are_flipped",
            "fields_that_are_missing_or_absurd",
            "vocabularies_that_are_none",
            "tensors_that_do_not_fit",
            "files_that_are_no_weights",
        ]),
    ),
    (
        42,
        "panic inside of the engine",
        Not("no test yet: nothing in the engine can be told to panic; a part that does stops the run as failed"),
    ),
    (43, "no home, no folder to write to, no terminal, output closed", Tests(&["a_minimal_environment_is_enough"])),
    (44, "too few file descriptors", Tests(&["few_file_descriptors_are_enough"])),
    (
        45,
        "ledger of another version",
        Tests(&["a_ledger_of_format_1_is_upgraded_in_place", "a_newer_format_is_refused"]),
    ),
    (
        46,
        "deadlocks and lost wake-ups",
        Here(
            &[
                "lanes_and_parts_change_nothing",
                "a_dropped_call_does_not_keep_its_place_in_the_queue",
                "while_a_server_is_down_one_call_at_a_time_probes_it",
                "a_call_that_leaves_does_not_block_the_others",
                "stages_that_need_each_others_models_in_turn_come_to_an_end",
            ],
            "interleavings are not explored by a model checker",
        ),
    ),
    (
        47,
        "a model that changes or disappears on its server",
        Tests(&[
            "the_run_stops_names_both_builds_and_serves_none_of_the_answers",
            "what_was_answered_before_the_last_good_look_is_kept",
            "another_build_after_an_outage_is_noticed_at_once",
            "hosted_models_that_tell_a_version_are_checked_too",
            "a_model_that_was_removed_is_not_asked",
        ]),
    ),
    (
        48,
        "programs of a model: endless, too large, too deep, with too many calls, or that fake an answer",
        Tests(&[
            "hostile_programs_end_in_an_error_cell_that_names_the_bound",
            "no_program_exceeds_its_bounds",
            "deep_code_and_deep_values_are_mistakes_and_not_crashes",
            "text_that_looks_like_a_final_answer_is_only_text",
            "programs_of_the_corpus",
        ]),
    ),
];

/// Every function that is a test, by its name, below a folder.
fn tests(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (i, line) in lines.iter().enumerate() {
                // The function follows its attributes; those of `broken` and `fuzz` are made by a macro.
                let function = lines[i..].iter().find(|line| !line.starts_with("#["));
                let name = match line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    true => function.and_then(|line| line.split("fn ").nth(1)),
                    false if line.ends_with(',') && line.contains(" = ") => Some(*line),
                    false => None,
                };
                let name = name.map(|name| name.split(['(', ' ']).next().unwrap_or_default());
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_fault_is_shown_or_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = HashSet::new();
    tests(&root.join("src"), &mut known);
    tests(&root.join("tests/suite"), &mut known);
    tests(&root.join("tests/fuzz"), &mut known);
    let numbers: Vec<u8> = FAULTS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=48).collect::<Vec<u8>>());
    for (number, fault, shown) in &FAULTS {
        let (names, reason): (&[&str], &str) = match shown {
            Tests(names) => (names, "shown"),
            Here(names, reason) => (names, reason),
            Not(reason) => (&["every_fault_is_shown_or_explained"], reason),
        };
        assert!(!fault.is_empty() && !names.is_empty() && !reason.is_empty(), "{number}");
        for name in names {
            assert!(known.contains(*name), "{number} ({fault}): there is no test `{name}`");
        }
    }
}
