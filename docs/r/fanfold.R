# fanfold from R: functions that call the program `fanfold`.
#
#     source("fanfold.R")
#     run <- fanfold_run("study.toml", sources = list(speeches = speeches))
#     tone <- fanfold_table(run, "tone")
#
# Needs R 4.0, the package jsonlite, and the program in the path (or the option `fanfold.program`, or the variable
# FANFOLD_PROGRAM). With the package arrow, tables may be large and keep all types.

#' Runs a spec: reuses recorded answers, asks the models for the others, and writes the outputs.
#'
#' @param spec The file of the spec.
#' @param sources Rows for sources of the spec, by name: data frames, arrow tables, or files.
#' @param settings Settings to change, by name: list(models.small.temperature = 0.5).
#' @param limit,sample,rows Only the first rows, a sample, or a range such as c(100, 200).
#' @param select Only these stages and the stages they read.
#' @param replay A file of `fanfold ledger export` that answers the calls.
#' @param fresh Whether to repeat every call.
#' @param locked Whether to refuse to start if something differs from the lock.
#' @param update_lock Whether to rewrite the lock, even if a model build differs from it.
#' @param progress Whether to show progress on standard error.
#' @return A list of the class `fanfold_run`: `summary`, `name`, `state`, `tables` (the names of the tables), `outputs`
#'   (the files that the spec declares), `lock`. A run that did not finish is an error, which has the run as `run`.
fanfold_run <- function(spec, sources = list(), settings = list(), limit = NULL, sample = NULL, rows = NULL,
                        select = character(), replay = NULL, fresh = FALSE, locked = FALSE, update_lock = FALSE,
                        progress = interactive()) {
  given <- .fanfold_sources(spec, sources)
  flags <- c("--fresh", "--locked", "--update-lock")[c(fresh, locked, update_lock)]
  if (!is.null(replay)) flags <- c(flags, "--replay", replay)
  chosen <- .fanfold_selection(settings, limit, sample, rows, select)
  outcome <- .fanfold_call(c("run", spec, "--format", "json", given, chosen, flags), progress)
  run <- if (nzchar(outcome$stdout)) .fanfold_as_run(spec, outcome, given)
  if (outcome$status != 0) .fanfold_stop(outcome, run)
  run
}

#' What a run would do and cost, as a list. Sends nothing.
fanfold_plan <- function(spec, sources = list(), settings = list(), limit = NULL, sample = NULL, rows = NULL,
                         select = character()) {
  chosen <- .fanfold_selection(settings, limit, sample, rows, select)
  outcome <- .fanfold_call(c("plan", spec, "--format", "json", .fanfold_sources(spec, sources), chosen))
  if (outcome$status != 0) .fanfold_stop(outcome)
  jsonlite::fromJSON(outcome$stdout, simplifyDataFrame = FALSE)
}

#' The problems of a spec as a data frame: rule, severity, message, help, path, line, column. No rows: none.
fanfold_validate <- function(spec, sources = list()) {
  outcome <- .fanfold_call(c("validate", spec, "--format", "json", .fanfold_sources(spec, sources)))
  if (!nzchar(outcome$stdout)) .fanfold_stop(outcome)
  problems <- jsonlite::fromJSON(outcome$stdout)$diagnostics
  if (is.data.frame(problems)) problems else .fanfold_problems(list())
}

#' Compares the tables, the spec and the inputs with the lock. `verified` says whether they are equal, `drift` what differs.
fanfold_verify <- function(spec, models = FALSE) {
  outcome <- .fanfold_call(c("verify", spec, "--format", "json", if (models) "--models"))
  if (!nzchar(outcome$stdout)) .fanfold_stop(outcome)
  jsonlite::fromJSON(outcome$stdout)
}

#' A table of a run: of a stage, of an output, or "calls".
#'
#' @param as "data.frame", or "arrow" for an arrow table. "auto" is an arrow table if the package arrow is installed.
fanfold_table <- function(run, name, as = c("auto", "data.frame", "arrow")) {
  as <- match.arg(as)
  has_arrow <- requireNamespace("arrow", quietly = TRUE)
  table <- if (name == "calls") run$summary$calls else run$summary$tables[[name]]
  if (is.null(table)) {
    stop("there is no table `", name, "`; there are ", toString(c(run$tables, "calls")), call. = FALSE)
  }
  files <- .fanfold_path(unlist(table$files), run$folder)
  columns <- do.call(rbind, lapply(table$columns, as.data.frame))
  if (!has_arrow) {
    if (as == "arrow") stop("install.packages(\"arrow\") for arrow tables", call. = FALSE)
    return(.fanfold_read_csv(files, columns))
  }
  parts <- lapply(files, arrow::read_parquet, as_data_frame = FALSE)
  table <- do.call(arrow::concat_tables, parts)
  table <- table[, columns$from]
  names(table) <- columns$name
  if (as == "data.frame") as.data.frame(table) else table
}

#' Writes the report page of a run to a file, and returns the file.
fanfold_report <- function(run, file = "report.html") {
  outcome <- .fanfold_call(c("report", run$spec, "--run", run$name, "-o", file, run$given))
  if (outcome$status != 0) .fanfold_stop(outcome)
  invisible(file)
}

print.fanfold_run <- function(x, ...) {
  cat("run ", x$name, ", ", x$state, "\n", sep = "")
  for (stage in names(x$summary$stages)) {
    totals <- x$summary$stages[[stage]]
    cat("  ", stage, ": ", totals$rows, " rows = ", totals$answered, " answered + ", totals$failed, " failed + ",
        totals$skipped, " skipped; ", totals$calls, " calls sent\n", sep = "")
  }
  cat("  tables: ", toString(x$tables), "\n", sep = "")
  invisible(x)
}

# ---- The program ----

.fanfold_program <- function() {
  program <- getOption("fanfold.program", Sys.getenv("FANFOLD_PROGRAM", Sys.which("fanfold")))
  if (!nzchar(program)) {
    stop("the program `fanfold` is not in the path; install it with `pip install fanfold`", call. = FALSE)
  }
  program
}

# Runs a command to its end. An interrupt also reaches the program, which then waits for the calls in flight.
.fanfold_call <- function(arguments, progress = FALSE) {
  out <- tempfile("fanfold-")
  err <- tempfile("fanfold-")
  on.exit(unlink(c(out, err)))
  quoted <- vapply(c(arguments, if (!progress) c("--log", "json")), shQuote, "")
  status <- suppressWarnings(system2(.fanfold_program(), quoted, stdout = out, stderr = if (progress) "" else err))
  events <- list()
  for (line in if (file.exists(err)) readLines(err, warn = FALSE, encoding = "UTF-8")) {
    event <- tryCatch(jsonlite::fromJSON(line, simplifyVector = FALSE), error = function(e) NULL)
    if (is.null(event)) event <- list(event = "error", message = sub("^error: ", "", line))
    events <- c(events, list(event))
  }
  stdout <- paste(readLines(out, warn = FALSE, encoding = "UTF-8"), collapse = "\n")
  list(status = status, stdout = stdout, events = events)
}

.fanfold_of_kind <- function(events, kind) Filter(function(event) identical(event$event, kind), events)

# The error of a command that failed: a condition of the class `fanfold_error` with `exit_code`, `diagnostics` and `run`.
.fanfold_stop <- function(outcome, run = NULL) {
  errors <- .fanfold_of_kind(outcome$events, "error")
  problems <- Filter(function(p) p$severity == "error", .fanfold_of_kind(outcome$events, "problem"))
  line <- function(event, place = "") {
    paste0(place, event$message, if (!is.null(event$help)) paste0("\n  help: ", event$help))
  }
  place <- function(problem) paste0(problem$file, ":", problem$line, ": ")
  lines <- c(vapply(errors, line, ""), vapply(problems, function(p) line(p, place(p)), ""))
  if (length(lines) == 0) {
    notes <- vapply(.fanfold_of_kind(outcome$events, "note"), function(note) note$text, "")
    lines <- c(utils::tail(notes, 1), paste("exit code", outcome$status))[1]
  }
  classes <- c("fanfold_error", "error", "condition")
  stop(structure(class = classes, list(
    message = paste(lines, collapse = "\n"), call = NULL, exit_code = outcome$status,
    diagnostics = .fanfold_problems(problems), run = run
  )))
}

.fanfold_problems <- function(problems) {
  fields <- c("rule", "severity", "message", "help", "path", "line", "column")
  row <- function(problem) {
    cells <- lapply(problem[fields], function(cell) if (is.null(cell)) NA else cell)
    as.data.frame(stats::setNames(cells, fields))
  }
  if (length(problems) > 0) return(do.call(rbind, lapply(problems, row)))
  as.data.frame(stats::setNames(rep(list(character()), length(fields)), fields))
}

.fanfold_as_run <- function(spec, outcome, given) {
  summary <- jsonlite::fromJSON(outcome$stdout, simplifyVector = FALSE)
  spec <- normalizePath(spec)
  paths <- vapply(summary$outputs, function(output) output$path, "")
  structure(class = "fanfold_run", list(
    summary = summary, name = summary$name, state = summary$state, tables = names(summary$tables),
    outputs = stats::setNames(file.path(dirname(spec), paths), names(paths)), lock = summary$lock, spec = spec,
    folder = getwd(), given = given
  ))
}

# ---- Rows in and out ----

.fanfold_sources <- function(spec, sources) {
  given <- lapply(names(sources), function(name) {
    c("--source", paste0(name, "=", .fanfold_source(name, sources[[name]], dirname(spec))))
  })
  unlist(given)
}

# The file with the rows of a source. Its name is a hash of its content, so the same rows need no new calls.
.fanfold_source <- function(name, rows, folder) {
  if (is.character(rows) && length(rows) == 1) return(normalizePath(rows))
  is_arrow <- inherits(rows, "ArrowTabular")
  if (!is.data.frame(rows) && !is_arrow) stop("source `", name, "`: not a data frame, an arrow table or a file", call. = FALSE)
  frames <- file.path(folder, ".fanfold", "frames")
  dir.create(frames, showWarnings = FALSE, recursive = TRUE)
  ignored <- file.path(folder, ".fanfold", ".gitignore")
  if (!file.exists(ignored)) writeLines("*", ignored)
  unfinished <- tempfile("frame-", frames)
  on.exit(unlink(unfinished))
  if (is_arrow) {
    arrow::write_feather(rows, unfinished, compression = "uncompressed")
  } else {
    connection <- file(unfinished, "wb")
    tryCatch(
      jsonlite::stream_out(rows, connection, verbose = FALSE, digits = NA, na = "null", null = "null", factor = "string",
                           Date = "ISO8601", POSIXt = "ISO8601", UTC = TRUE),
      finally = close(connection)
    )
  }
  kept <- file.path(frames, paste0(tools::md5sum(unfinished), if (is_arrow) ".arrow" else ".jsonl"))
  file.rename(unfinished, kept)
  normalizePath(kept)
}

.fanfold_selection <- function(settings, limit, sample, rows, select) {
  toml <- function(value) jsonlite::toJSON(value, auto_unbox = TRUE, digits = NA)
  number <- function(value) format(value, scientific = FALSE)
  c(
    unlist(lapply(names(settings), function(name) c("--set", paste0(name, "=", toml(settings[[name]]))))),
    if (!is.null(limit)) c("--limit", number(limit)),
    if (!is.null(sample)) c("--sample", number(sample)),
    if (!is.null(rows)) c("--rows", paste(number(rows[1]), number(rows[2]), sep = ":")),
    unlist(lapply(select, function(stage) c("--select", stage)))
  )
}

.fanfold_path <- function(path, folder) {
  is_absolute <- grepl("^(/|\\\\|[A-Za-z]:)", path)
  ifelse(is_absolute, path, file.path(folder, path))
}

# Without the package arrow the program itself reads the Parquet files.
.fanfold_read_csv <- function(files, columns) {
  read <- function(file) {
    outcome <- .fanfold_call(c("show", file, "--csv", "--columns", paste(columns$from, collapse = ",")))
    if (outcome$status != 0) .fanfold_stop(outcome)
    utils::read.csv(text = outcome$stdout, colClasses = "character", na.strings = "", check.names = FALSE,
                    encoding = "UTF-8")
  }
  table <- if (length(files) > 0) do.call(rbind, lapply(files, read)) else
    as.data.frame(stats::setNames(rep(list(character()), nrow(columns)), columns$from))
  for (i in seq_len(nrow(columns))) {
    cells <- table[[columns$from[i]]]
    table[[columns$from[i]]] <- switch(columns$type[i],
      integer = , number = as.numeric(cells), boolean = as.logical(toupper(cells)), cells
    )
  }
  stats::setNames(table[columns$from], columns$name)
}
