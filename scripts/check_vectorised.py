#!/usr/bin/env python3
"""Checks that the program's vectorised loops are compiled as such.

    scripts/check_vectorised.py target/release/vlora

`pulp` compiles a closure for AVX2 and for AVX-512, and chooses when the program runs. Code that the compiler does not
inline into the closure is compiled for the oldest processor instead: the result is the same, and several times
slower. So this disassembles those functions and fails if

- one calls something other than what stands in ALLOWED: what is left over is a closure or a function that should
  have been inlined;
- fewer functions than EXPECTED use whole vectors (256 or 512 bits): a check that finds nothing checks nothing.

Needs nm, objdump and readelf of binutils, on x86-64. Works for both instruction sets on any processor.
"""

import collections
import platform
import re
import subprocess
import sys

# Calls per row or per block that need no vectors, and panics, which do not return.
ALLOWED = re.compile(
    r"^core::panicking::|^core::(option|result)::(unwrap|expect)_failed|^core::slice::.*fail"
    r"|^alloc::(raw_vec|alloc)::|^__rust|^_Unwind|^mem(set|cpy|move)\b|^logf\b"
)
EXPECTED = 32


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def symbols(program):
    """(address, size, name) of the program's own functions and values; a size of 0 where none is known."""
    for line in output("nm", "--demangle", "--print-size", "--defined-only", program).splitlines():
        address, size, name = re.match(r"([0-9a-f]+) (?:([0-9a-f]+) )?\S (.*)", line).groups()
        yield int(address, 16), int(size or "0", 16), name


def functions(known):
    """(address, size, instruction set) of every function that pulp compiles for an instruction set."""
    for address, size, name in known:
        if found := re.match(r"pulp::x86::(v3)::V3::vectorize::|pulp::x86::(v4)::V4::vectorize::", name):
            yield address, size, found[1] or found[2]


def jump_table(program, known):
    """The names behind the addresses that indirect calls read: of other libraries, and of the program."""
    own = {address: name for address, _, name in known}
    names = {}
    for line in output("readelf", "--relocs", "--wide", program).splitlines():
        found = re.match(r"([0-9a-f]+)\s+[0-9a-f]+ (R_X86_64_\w+)\s+(.*)", line)
        if not found:
            continue
        place, kind, rest = found.groups()
        if kind == "R_X86_64_RELATIVE":
            names[int(place, 16)] = own.get(int(rest, 16), "")
        elif kind in ("R_X86_64_GLOB_DAT", "R_X86_64_JUMP_SLOT"):
            names[int(place, 16)] = rest.split()[1]
    return names


def calls(text, table, start, end):
    """The names of the functions that a disassembly calls, or jumps to as its last call."""
    for line in text.splitlines():
        direct = re.search(r"\b(?:call|jmp)\s+([0-9a-f]+) <(.*)>$", line)
        indirect = re.search(r"\b(?:call|jmp)\s+\*.*# ([0-9a-f]+) <", line)
        if direct:
            if not start <= int(direct[1], 16) < end:
                yield direct[2]
        elif indirect:
            yield table.get(int(indirect[1], 16), "") or "an unknown function"
        elif re.search(r"\bcall\b", line):
            yield "a function through a pointer"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if platform.machine() != "x86_64":
        print(f"nothing to check on {platform.machine()}")
        return
    program = sys.argv[1]
    wide = collections.Counter()
    faults = set()
    known = list(symbols(program))
    table = jump_table(program, known)
    for address, size, vectors in functions(known):
        text = output(
            "objdump", "--disassemble", "--demangle", "--no-show-raw-insn",
            f"--start-address={address}", f"--stop-address={address + size}", program,
        )
        wide[vectors] += bool(re.search("%zmm" if vectors == "v4" else "%ymm", text))
        for target in calls(text, table, address, address + size):
            name = re.sub(r"(\+0x[0-9a-f]+|@.*)$", "", target)
            if not ALLOWED.search(name):
                faults.add(f"code for {vectors} calls {name}")
    for fault in sorted(faults):
        print(f"not inlined: {fault}")
    for vectors in ("v3", "v4"):
        print(f"{wide[vectors]} functions use whole vectors of {vectors}")
        if wide[vectors] < EXPECTED:
            faults.add(vectors)
            print(f"expected at least {EXPECTED}: does pulp name its functions otherwise?")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
