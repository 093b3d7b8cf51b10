"""What a program does before its slow imports, which may also fail."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType

BAD_INSTALLATION, BUG = 2, 70


def begin() -> None:
    """Until `command.run`, end without a traceback on Ctrl-C and if a package is missing.

    Python itself would exit with status 1, which for iscc_verify means a mismatch.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.excepthook = end


def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    status = BUG
    try:
        if isinstance(error, ImportError):
            status = BAD_INSTALLATION
            tool = Path(sys.argv[0]).stem
            message = f"{tool}: {error}; install the packages that this tool requires\n"
        else:
            message = "".join(traceback.format_exception(kind, error, trace))
        os.write(2, message.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)
