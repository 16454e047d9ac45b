#!/usr/bin/env python3
"""Checks README.md and docs/*.md: runs their commands, and looks up what they name.

    scripts/check_docs.py [--vlora FILE] [--results FOLDER] [--list]

    --vlora FILE      the program (default: `vlora` on the path)
    --results FOLDER  results of the quickstart that was run before; without it, the script runs it
    --list            show what is done with each block of commands, and run none

Commands stand in blocks that begin with ```sh. Each block is one of three:

  run     The blocks of a page are one bash script. It runs in a temporary folder that looks like the
          repository, so it leaves nothing behind. A command that fails is an error.
  by CI   .ci/run runs every line of the block itself, as `readme "…"`.
  marked  The line before the block is a comment that says what CI lacks:
              <!-- not in CI: needs a GPU -->

Besides, it is an error

  - where a command stands in another block, or in a block without a language;
  - where `vlora …` in a text has a subcommand or an option that the program does not know, or `just …`
    a recipe that the Justfile does not have;
  - where a link leads nowhere, or a path as `src/main.rs` in a text does not exist;
  - where docs/extending.md names a type or a function that is not in the source;
  - where README.md has more than 150 lines.

Needs Python 3.9 or newer, without packages, and bash.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README_LINES = 150
# Time limit for all commands of a page together.
SECONDS = 180
LANGUAGES = {"sh", "yaml", "text", "rust", "csv", "json"}
MARK = re.compile(r"<!-- not in CI: (.+) -->$")
COMMAND = re.compile(r"\s*(\$ |vlora |cargo |just |scripts/|\./|python3? |env/bin/)")
OF_THE_SOURCE = re.compile(r"(src|tests|scripts|experiments|benches|docs|results)/[\w./-]*")
NAME = re.compile(r"[A-Za-z_]\w*((::|\.)[A-Za-z_]\w*)*!?(\(\))?")

faults = []


def fault(page, line, text):
    faults.append(f"{page.relative_to(ROOT)}:{line}: {text}")


class Block:
    """A fenced block: its language, its lines, and where it begins."""

    def __init__(self, page, line, language, before):
        self.page, self.line, self.language, self.lines = page, line, language, []
        mark = MARK.match(before)
        self.mark = mark and mark[1]

    def commands(self):
        """Its commands; lines continued by `\\` are joined."""
        text = "\n".join(self.lines).replace("\\\n", " ")
        return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def parts(page):
    """The blocks of a page, and its other lines by number."""
    blocks, prose, block, before = [], [], None, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r"\s*(?:```|~~~)(.*)", line)
        if fence and block is None:
            block = Block(page, number, fence[1].strip(), before)
        elif fence:
            blocks.append(block)
            block = None
        elif block is not None:
            block.lines.append(line)
        else:
            prose.append((number, line))
        before = line.strip() or before
    if block is not None:
        fault(page, block.line, "the block has no end")
    return blocks, prose


def kind(block, by_ci):
    """How a block of commands is handled."""
    if block.mark:
        return f"marked: {block.mark}"
    return "by CI" if all(line in by_ci for line in block.commands()) else "run"


def check_block(block):
    if block.language not in LANGUAGES:
        known = ", ".join(sorted(LANGUAGES))
        fault(block.page, block.line, f"a block of `{block.language}`; expected one of {known}")
    elif block.language != "sh" and any(COMMAND.match(line) for line in block.lines):
        fault(block.page, block.line, "a command stands in a block that is not ```sh")


def anchors(page):
    """The anchors of a page's headings."""
    # A comment in a block is no heading.
    text = re.sub(r"^\s*(```|~~~).*?^\s*\1", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return set(plain)


def check_links(page, number, line):
    for target in re.findall(r"\]\(([^)\s]+)\)", line):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            fault(page, number, f"the link {target} leads nowhere")
        elif anchor and anchor not in anchors(there):
            fault(page, number, f"the link {target} leads to no heading")


class Program:
    """The program's own description of its commands."""

    def __init__(self, vlora):
        self.vlora, self.helps = vlora, {}

    def help(self, subcommand):
        if subcommand not in self.helps:
            ran = subprocess.run([self.vlora, *subcommand.split(), "--help"], capture_output=True, text=True)
            self.helps[subcommand] = ran.stdout if ran.returncode == 0 else None
        return self.helps[subcommand]


def check_code(page, number, line, program, source, recipes):
    """Looks up the inline code of a line."""
    for code in re.findall(r"`([^`]+)`", line):
        words = code.split()
        if words[0] == "vlora" and len(words) > 1 and re.match(r"[a-z]+$", words[1]):
            text = program.help(words[1])
            if text is None:
                fault(page, number, f"`{code}`: the program has no subcommand {words[1]}")
                continue
            # A subcommand of a subcommand, as in `vlora launch slurm`.
            if len(words) > 2 and re.search(rf"^Commands:(?:\n .*)*\n  {re.escape(words[2])} ", text, re.M):
                text = program.help(f"{words[1]} {words[2]}")
            for option in re.findall(r"(?<!\S)--[a-z-]+", code):
                if not re.search(rf"(?<!\S){option}\b", text):
                    fault(page, number, f"`{code}`: vlora {words[1]} has no option {option}")
        elif words[0] == "just" and len(words) > 1 and words[1] not in recipes:
            fault(page, number, f"`{code}`: the Justfile has no such recipe")
        elif OF_THE_SOURCE.fullmatch(code):
            if not (ROOT / code).exists():
                fault(page, number, f"`{code}` does not exist")
        elif page.name == "extending.md" and NAME.fullmatch(code):
            unknown = [name for name in re.findall(r"\w+", code) if name not in source]
            if unknown:
                fault(page, number, f"`{code}`: {unknown[0]} is not in the source")


def repository_like(folder, results):
    """Fills a folder with the files that commands read, so that none of them changes the repository."""
    copied = {"experiments", "results"}
    for entry in ROOT.iterdir():
        if entry.name in copied:
            shutil.copytree(entry, folder / entry.name)
        elif entry.name not in {".git", "target"}:
            (folder / entry.name).symlink_to(entry)
    if results:
        shutil.copytree(results, folder / "results", dirs_exist_ok=True)


def script(blocks):
    """The commands of a page as one script, which names the block that fails."""
    lines = ["set -euo pipefail", "trap 'echo \"the block of line $block failed\" >&2' ERR"]
    for block in blocks:
        lines += [f"block={block.line}", *block.lines]
    return "\n".join(lines) + "\n"


def run(page, blocks, folder, env):
    name, start = str(page.relative_to(ROOT)), time.monotonic()
    command = ["bash", "-c", script(blocks)]
    ran = subprocess.Popen(
        command, cwd=folder, env=env, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        output, _ = ran.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        # With what the commands have started.
        os.killpg(ran.pid, signal.SIGKILL)
        ran.communicate()
        fault(page, blocks[0].line, f"the commands take longer than {SECONDS} s")
        return
    if ran.returncode != 0:
        tail = "\n".join("    " + line for line in output.splitlines()[-20:])
        fault(page, blocks[0].line, f"a command failed (exit code {ran.returncode})\n{tail}")
    print(f"{time.monotonic() - start:5.1f} s  {name}: {len(blocks)} blocks", flush=True)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--vlora", default="vlora")
    parser.add_argument("--results")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    vlora = shutil.which(args.vlora)
    if vlora is None:
        sys.exit(f"check_docs.py: there is no program {args.vlora}; --vlora names another")
    vlora = str(pathlib.Path(vlora).resolve())
    if args.results and not pathlib.Path(args.results, "quickstart").is_dir():
        sys.exit(f"check_docs.py: {args.results} has no folder quickstart")

    program = Program(vlora)
    by_ci = set(re.findall(r'readme "([^"]+)"', (ROOT / ".ci/run").read_text()))
    recipes = set(re.findall(r"^([a-z][\w-]*)", (ROOT / "Justfile").read_text(), re.M))
    files = [*ROOT.glob("src/**/*.rs"), *ROOT.glob("src/**/*.cu"), *ROOT.glob("tests/**/*.rs")]
    source = set(re.findall(r"\w+", "\n".join(path.read_text() for path in files)))

    to_run = []
    for page in PAGES:
        blocks, prose = parts(page)
        for block in blocks:
            check_block(block)
        for number, line in prose:
            check_links(page, number, line)
            check_code(page, number, line, program, source, recipes)
        commands = [block for block in blocks if block.language == "sh"]
        if args.list:
            for block in commands:
                print(f"{page.relative_to(ROOT)}:{block.line}: {kind(block, by_ci)}")
        for block in commands:
            # What is not run is looked up.
            if block.mark:
                for command in block.commands():
                    check_code(page, block.line, f"`{command.strip()}`", program, source, recipes)
        to_run.append((page, [block for block in commands if kind(block, by_ci) == "run"]))
    lines = len(PAGES[0].read_text().splitlines())
    if lines > README_LINES:
        fault(PAGES[0], lines, f"{lines} lines; expected at most {README_LINES}")

    if not args.list:
        with tempfile.TemporaryDirectory() as work:
            folder, bin_folder = pathlib.Path(work, "repository"), pathlib.Path(work, "bin")
            folder.mkdir()
            bin_folder.mkdir()
            (bin_folder / "vlora").symlink_to(vlora)
            repository_like(folder, args.results)
            # Neither the Hub nor an earlier cache is read.
            env = os.environ | {
                "PATH": f"{bin_folder}:{os.environ['PATH']}",
                "VLORA_CACHE": str(pathlib.Path(work, "cache")),
                "HF_HUB_OFFLINE": "1",
            }
            if not args.results:
                quickstart = "run experiments/quickstart.yaml -q --set seeds=[0]"
                subprocess.run(
                    ["vlora", *shlex.split(quickstart)], cwd=folder, env=env, check=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, executable=vlora,
                )
            for page, blocks in to_run:
                if blocks:
                    run(page, blocks, folder, env)

    for text in faults:
        print(text, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
