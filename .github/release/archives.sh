#!/usr/bin/env bash
# Makes the files of a release: an archive for each target with the program, completions and man pages; the SBOM; checksums.
#
# Usage: .github/release/archives.sh PROGRAMS WHEEL OUT
#   PROGRAMS  a folder with program-TARGET/fanfold or program-TARGET/fanfold.exe
#   WHEEL     a wheel, whose SBOM is that of all programs
#   OUT       the folder to write
set -euo pipefail
programs=$(realpath "$1") wheel=$(realpath "$2")
mkdir -p "$3"
out=$(realpath "$3")
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Programs that came from a store of files may have lost their mode.
chmod +x "$programs"/program-*/fanfold
host=$(uname -m)-unknown-linux
here=("$programs/program-$host-"*/fanfold)
program=${here[0]}
version=$("$program" --version | cut -d ' ' -f 2)

mkdir -p "$work/completions" "$work/man"
for shell in bash zsh fish powershell elvish; do
  "$program" completions "$shell" > "$work/completions/fanfold.$shell"
done
# A page for the program and one for each command.
help2man --no-info --no-discard-stderr --name "language models over tables" "$program" > "$work/man/fanfold.1"
commands=$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\+\) .*/\1/p' | grep -vx help)
for command in $commands; do
  # The first paragraph of the help.
  about=$("$program" "$command" --help | sed '/^$/q' | paste -s -d ' ' | sed 's/[. ]*$//')
  help2man --no-info --no-discard-stderr --version-string "$version" --name "$about" "$program $command" |
    sed '1,/^\.SH/s/^\.TH [^ ]*/.TH FANFOLD-'"${command^^}"'/' > "$work/man/fanfold-$command.1"
done

for folder in "$programs"/program-*; do
  name="fanfold-$version-${folder##*/program-}"
  mkdir "$work/$name"
  cp -r "$folder"/fanfold* LICENSE* README.md "$work/completions" "$work/man" "$work/$name"
  if [[ $name == *windows* ]]; then
    (cd "$work" && python3 -m zipfile -c "$out/$name.zip" "$name")
  else
    # The same files make the same archive.
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" -c "$name" |
      gzip -n -9 > "$out/$name.tar.gz"
  fi
done

python3 - "$wheel" "$out/fanfold-$version.cyclonedx.json" <<'END'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    [sbom] = [name for name in wheel.namelist() if name.endswith(".cyclonedx.json")]
    open(sys.argv[2], "wb").write(wheel.read(sbom))
END
cd "$out"
for file in fanfold-*.tar.gz fanfold-*.zip fanfold-*.json; do
  [ ! -e "$file" ] || sha256sum "$file" > "$file.sha256"
done
