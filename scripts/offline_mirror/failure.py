"""What stops the script: said plainly, with what to do about it."""


class Failure(Exception):
    def __init__(self, what, found=None, expected=None, help=None):
        lines = [what]
        for name, value in (("found", found), ("expected", expected), ("help", help)):
            if value is not None:
                lines.append(f"  {name + ':':<10}{value}")
        super().__init__("\n".join(lines))


def expect(what, found, expected, help=None):
    if found != expected:
        raise Failure(f"{what}: not as expected", found, expected, help)
