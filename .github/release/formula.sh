#!/usr/bin/env bash
# Prints the Homebrew formula of a release.
#
# Usage: .github/release/formula.sh ARCHIVES ADDRESS
#   ARCHIVES  the folder that archives.sh wrote
#   ADDRESS   the address of the repository, whose releases have the archives
set -euo pipefail
archives=$1 address=$2
first=("$archives"/fanfold-*-linux-*.tar.gz)
version=$(basename "${first[0]}" | sed 's/^fanfold-\(.*\)-[^-]*-unknown-linux-.*$/\1/')

# The lines of a target in its block of the formula.
target() {
  local file="fanfold-$version-$1.tar.gz"
  [ -e "$archives/$file" ] || return 0
  echo "      url \"$address/releases/download/v$version/$file\""
  echo "      sha256 \"$(cut -d ' ' -f 1 "$archives/$file.sha256")\""
}

cat <<END
class Fanfold < Formula
  desc "Language models over tables, declared in a spec"
  homepage "$address"
  version "$version"
  license "MIT"

  on_macos do
    on_arm do
$(target aarch64-apple-darwin)
    end
    on_intel do
$(target x86_64-apple-darwin)
    end
  end

  on_linux do
    on_arm do
$(target aarch64-unknown-linux-musl)
    end
    on_intel do
$(target x86_64-unknown-linux-musl)
    end
  end

  def install
    bin.install "fanfold"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/fanfold.bash" => "fanfold"
    zsh_completion.install "completions/fanfold.zsh" => "_fanfold"
    fish_completion.install "completions/fanfold.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/fanfold --version")
  end
end
END
