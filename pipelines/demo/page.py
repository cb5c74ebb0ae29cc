"""The page and its HTTP API, built with Gradio from runs that are loaded.

`GRADIO_TEMP_DIR` and `GRADIO_ANALYTICS_ENABLED` have to be set before this module is imported.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from pipelines.demo.answering import Answer, ServedRun, answered, check_text
from pipelines.demo.files import KEPT, Step, answer_file
from pipelines.demo.marking import answer_html, fault_html
from pipelines.errors import UserError
from pipelines.examples import JsonObject, prediction_to_json

SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
MONO_FONTS = ("ui-monospace", "Consolas", "monospace")
Upload = dict[str, str]


@dataclass(frozen=True)
class Page:
    """The handlers of the page and of the API.

    Args:
        runs: one or two.
        folder: temporary, for uploads and answers.
        max_chars: of a text.
    """

    runs: Sequence[ServedRun]
    folder: Path
    max_chars: int

    def mark(self, text: str, pair: str | None = None) -> Iterator[tuple[str, ...]]:
        """The answers of all runs as HTML, each as soon as it is there."""
        shown = ["" for _ in self.runs]
        answers: list[Answer] = []
        try:
            for position, run in enumerate(self.runs):
                example = check_text(run, text, pair, max_chars=self.max_chars)
                answers.append(answered(run, example))
                shown[position] = answer_html(run, text, answers[-1])
                yield tuple(shown)
        except UserError as error:
            shown[len(answers)] = fault_html(str(error))
            yield tuple(shown)
            return
        if len(self.runs) == 2:
            sides = zip(self.runs, answers, reversed(answers), strict=True)
            yield tuple(answer_html(run, text, own, other=other) for run, own, other in sides)

    def predict(self, text: str, pair: str = "", run: str = "") -> JsonObject:
        """Answers a text: a line of predictions.jsonl, and the model's warnings."""
        try:
            served = self._named(run)
            example = check_text(served, text, pair, max_chars=self.max_chars)
            answer = answered(served, example)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return {**prediction_to_json(answer.prediction), "warnings": list(answer.warnings)}

    def _named(self, name: str) -> ServedRun:
        names = [run.name for run in self.runs]
        if name and name not in names:
            raise UserError(f"got the run {name!r}; wanted {' or '.join(names)}")
        return self.runs[names.index(name) if name else 0]

    def answer_upload(
        self,
        file: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio asks for it
    ) -> Iterator[tuple[str, list[str] | None]]:
        """What is done, and the files of answers at the end; faults as text on the page."""
        if file is None:
            yield fault_html("got no file; choose one"), None
            return
        try:
            for step in self._steps(file):
                progress((step.done, step.total), unit="texts")
                yield _done(step), [str(path) for path in step.files] or None
        except UserError as error:
            yield fault_html(str(error)), None

    def predict_file(self, file: str | None) -> Iterator[list[str] | None]:
        """Answers a file: the paths of a JSONL and a CSV file for each run."""
        if file is None:
            raise gr.Error("got no file; give one", print_exception=False)
        try:
            for step in self._steps(file):
                yield [str(path) for path in step.files] or None
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def _steps(self, file: str) -> Iterator[Step]:
        return answer_file(file, self.runs, folder=self.folder, max_chars=self.max_chars)


def _done(step: Step) -> str:
    end = "Done: " if step.files else ""
    return f'<p role="status">{end}{step.done:,} of {step.total:,} texts answered.</p>'


def build(
    runs: Sequence[ServedRun], *, folder: Path, max_chars: int, queue: int, max_file_mb: float
) -> gr.Blocks:
    """The page with its API, not yet launched.

    Args:
        runs: one or two.
        folder: temporary, for uploads and answers.
        max_chars: of a text.
        queue: requests that may wait.
        max_file_mb: to be named on the page.
    """
    page = Page(runs, folder, max_chars)
    names = " and ".join(run.name for run in runs)
    title = f"pipelines demo: {names}"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, KEPT)) as blocks:
        gr.HTML(f"<h1>{html.escape(names)}</h1>")
        with gr.Tab("Text"):
            _text_tab(page)
        with gr.Tab("File"):
            _file_tab(page, max_file_mb)
        gr.api(page.predict, api_name="predict", concurrency_id="texts", concurrency_limit=1)
    # By default each answer sends all that wait their new place: N requests make N^2 / 2 messages.
    return blocks.queue(max_size=queue, default_concurrency_limit=1, status_update_rate=2)


def _text_tab(page: Page) -> None:
    pairs = page.runs[0].pairs
    text = gr.Textbox(
        label="Text",
        lines=6,
        max_lines=16,
        placeholder=f"Paste a text of up to {page.max_chars:,} characters",
        elem_id="text",
    )
    pair = gr.Textbox(label="Second text", lines=3, visible=pairs, elem_id="pair")
    button = gr.Button("Mark" if page.runs[0].answer == "spans" else "Answer", variant="primary")
    button.elem_id = "mark"
    outputs = []
    with gr.Row():
        for number, _ in enumerate(page.runs):
            with gr.Column(min_width=320):
                outputs.append(gr.HTML(elem_id=f"answer-{number}", label="Answer"))
    examples = [e for e in page.runs[0].examples if len(e.text) <= page.max_chars]
    if examples:
        rows = [[example.text, example.pair or ""] for example in examples]
        gr.Examples(
            examples=rows if pairs else [row[:1] for row in rows],
            inputs=[text, pair] if pairs else [text],
            example_labels=[_shortened(example.text) for example in examples],
            label="Examples from the corpus",
            cache_examples=False,
        )
    button.click(
        page.mark,
        inputs=[text, pair],
        outputs=outputs,
        api_visibility="private",
        concurrency_id="texts",
        concurrency_limit=1,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _file_tab(page: Page, max_file_mb: float) -> None:
    gr.HTML(
        f"<p>A file of at most {max_file_mb:g} MB in any layout that the reader knows: JSON, JSON "
        "lines, CSV, CoNLL, a text a line …</p>"
        '<p id="upload-fault" class="fault" role="alert"></p>'
    )
    file = gr.File(label="File of texts", type="filepath", elem_id="upload")
    with gr.Row():
        start = gr.Button("Answer the file", variant="primary", elem_id="start")
        cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
    status = gr.HTML(elem_id="status", min_height=60)
    answers = gr.File(label="Answers", file_count="multiple", interactive=False, elem_id="files")
    work = start.click(
        page.answer_upload,
        inputs=file,
        outputs=[status, answers],
        api_visibility="private",
        concurrency_id="files",
        concurrency_limit=1,
    )
    cancel.click(
        lambda: "<p role='status'>Cancelled.</p>",
        outputs=status,
        cancels=work,
        api_visibility="private",
        queue=False,
    )
    api = gr.Button(visible=False)
    api.click(
        page.predict_file,
        inputs=file,
        outputs=answers,
        api_name="predict_file",
        concurrency_id="files",
        concurrency_limit=1,
    )


def size_check(max_file_mb: float) -> str:
    """A script that names a file that is too large: Gradio shows nothing of the refusal."""
    return """<script>
for (const name of ["change", "drop"]) addEventListener(name, event => {
  const input = event.target.closest?.("#upload");
  const files = event.dataTransfer?.files ?? event.target.files;
  const fault = document.querySelector("#upload-fault");
  if (!input || !files || !fault) return;
  const large = [...files].find(file => file.size > LIMIT * 1e6);
  fault.textContent = large ? `${large.name}: larger than LIMIT MB; choose a smaller file` : "";
  if (large) { event.preventDefault(); event.stopImmediatePropagation(); }
}, true);
</script>""".replace("LIMIT", f"{max_file_mb:g}")


def theme() -> gr.Theme:
    """Gradio's own look, in fonts that every system has: no request leaves for one."""
    return gr.themes.Default(font=SYSTEM_FONTS, font_mono=MONO_FONTS)
