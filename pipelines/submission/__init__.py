"""Submissions: a competition's CSV from its sample, and a course's package of runs.

`sample` reads the file, `columns` finds what its columns are, `inference` decides the layout,
`style` how an answer is written, `competition` fills, validates and pushes; `package` writes a
course's package.
"""

from pipelines.submission.competition import (
    Submission,
    push,
    rehearse_submission,
    validate_submission,
    write_submission,
)
from pipelines.submission.layouts import LAYOUTS

__all__ = [
    "LAYOUTS",
    "Submission",
    "push",
    "rehearse_submission",
    "validate_submission",
    "write_submission",
]
