"""What a run says while it runs: `logging`, on the terminal, by the main process alone."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from pipelines.errors import without_passwords

# Deprecations that concern one library's use of another, or an option that our trainers compute
# themselves: a user can do nothing about them.
OF_NO_CONCERN = (
    "`is_gradient_checkpointing` is deprecated",  # peft and TRL read it of transformers' models
    "`label_smoothing_factor` is deprecated in `SFTTrainer`",
)


class TerminalHandler(logging.Handler):
    """Writes notes to standard output and warnings to standard error, as they are at that time.

    A progress bar that is shown meanwhile is drawn again below.
    """

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        text = without_passwords(self.format(record))
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=stream)
        else:
            print(text, file=stream)
        stream.flush()


def log_to_terminal() -> None:
    """Shows what the loggers of `pipelines` are given; of several processes the first one's notes.

    Calling it again changes nothing.
    """
    for beginning in OF_NO_CONCERN:
        warnings.filterwarnings("ignore", message=beginning, category=FutureWarning)
    _hide_progress_of_files()
    logger = logging.getLogger("pipelines")
    is_main = os.environ.get("RANK", "0") == "0"
    logger.setLevel(logging.INFO if is_main else logging.ERROR)
    if not any(isinstance(handler, TerminalHandler) for handler in logger.handlers):
        logger.addHandler(TerminalHandler())


def _hide_progress_of_files() -> None:
    """Hides the bars of files that take a moment to read or write; downloads keep theirs."""
    if "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ:
        return  # the user has decided
    disable_progress_bars()
    # transformers reads this setting when it is imported, and never again.
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    enable_progress_bars("huggingface_hub")
