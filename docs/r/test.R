# Tests of fanfold.R: Rscript test.R, with the program in FANFOLD_PROGRAM and fanfold.R in the current folder.
source("fanfold.R")

equal <- function(found, expected) {
  same <- all.equal(found, expected, check.attributes = FALSE)
  if (!isTRUE(same)) stop(same, "\nfound: ", deparse(found), "\nexpected: ", deparse(expected), call. = sys.call(-1))
}

folder <- tempfile("study-")
dir.create(folder)
spec <- file.path(folder, "study.toml")
writeLines(c(
  'name = "study"', 'models.small = { provider = "mock", model = "any" }',
  "[sources.speeches]", 'type = "file"', 'path = "speeches.csv"', 'key = "id"',
  "[stages.tone]", 'type = "analysis"', 'input = "speeches"', 'models = ["small"]', 'prompt = "Tone? {{ text }}"',
  "[stages.tone.output]", 'tone = { type = "string", enum = ["positive", "negative"] }', 'sure = { type = "number" }',
  "[outputs.tone]", 'input = "tone"', 'path = "out/tone.csv"', 'columns = ["id", "tone"]', 'rename = { tone = "label" }'
), spec)
speeches <- data.frame(
  id = c("007", "008", "009"), text = c("Grüße, \"dear\" friends,\nall", "We mourn.", ""), n = c(1L, NA, 300000000L),
  x = c(0.1, 1 / 3, NA), day = as.Date(c("1790-01-01", NA, "1800-02-03")), kind = factor(c("a", "b", NA)),
  is_long = c(TRUE, NA, FALSE)
)

# A source without a file; the study itself cannot run.
equal(nrow(fanfold_validate(spec)), 1L)
equal(nrow(fanfold_validate(spec, sources = list(speeches = speeches))), 0L)
equal(fanfold_plan(spec, sources = list(speeches = speeches))$stages[[1]]$calls_to_send, 3L)

run <- fanfold_run(spec, sources = list(speeches = speeches))
equal(c(run$state, run$tables), c("done", "tone"))
equal(run$summary$stages$tone$calls, 3L)
equal(run$lock$sources$speeches$rows, 3L)
equal(length(readLines(run$outputs[["tone"]])), 4L)
output <- fanfold_table(run, "tone", as = "data.frame")
equal(names(output), c("id", "label"))
equal(output$id, speeches$id)

# The types and values of R come back.
calls <- fanfold_table(run, "calls", as = "data.frame")
equal(calls$row_key, speeches$id)
equal(calls$from_ledger, c(FALSE, FALSE, FALSE))
equal(is.numeric(calls$latency_ms), TRUE)
equal(calls$prompt[1], paste("Tone?", speeches$text[1]))

# The same rows are the same run, and new rows are the only ones that are sent.
again <- fanfold_run(spec, sources = list(speeches = speeches))
equal(c(again$name, again$summary$stages$tone$calls), c(run$name, 0))
more <- rbind(speeches, transform(speeches[2, ], id = "010", text = "New."))
equal(fanfold_run(spec, sources = list(speeches = more))$summary$stages$tone$calls, 1L)
limited <- fanfold_run(spec, sources = list(speeches = more), limit = 2, settings = list(seed = 7))
equal(limited$summary$stages$tone$rows, 2L)
equal(is.null(limited$lock), TRUE)

page <- fanfold_report(run, file.path(folder, "page.html"))
equal(any(grepl("<html", readLines(page, n = 20, warn = FALSE))), TRUE)

# The study itself.
utils::write.csv(speeches, file.path(folder, "speeches.csv"), row.names = FALSE, na = "")
equal(fanfold_run(spec)$state, "done")
equal(fanfold_verify(spec)$verified, TRUE)
equal(basename(fanfold_run(spec)$outputs[["tone"]]), "tone.csv")

# Errors are conditions.
caught <- function(code) tryCatch({ code; NULL }, fanfold_error = function(error) error)
error <- caught(fanfold_run(spec, settings = list(stages.tone.promt = "?")))
equal(error$exit_code, 2L)
equal(error$diagnostics$help, "did you mean `prompt`?")
equal(grepl("did you mean", conditionMessage(error)), TRUE)
equal(caught(fanfold_run(spec, sources = list(speech = speeches)))$exit_code, 2L)
equal(is.null(tryCatch(fanfold_run(spec, sources = list(speeches = 5)), error = conditionMessage)), FALSE)
cat("all tests of fanfold.R pass\n")
