"""A hook of MkDocs: links that leave the docs lead to the repository where that is known, and are plain text elsewhere.

In a workflow of GitHub its variables say where the repository is.
"""

import os
import re
from pathlib import PurePosixPath

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(((?!https?:|#)[^)\s#]+)(#[^)]*)?\)")


def on_page_markdown(markdown, page, config, files):  # noqa: ARG001 - MkDocs's
    """Return a page's text with its links to files outside of docs/ replaced."""
    folder = PurePosixPath(page.file.src_uri).parent

    def replaced(match):
        text, target, anchor = match[1], match[2], match[3] or ""
        path = os.path.normpath(f"docs/{folder}/{target}")
        if path.startswith("docs/"):
            return match[0]
        if "GITHUB_REPOSITORY" not in os.environ:
            return text
        server, repository = os.environ.get("GITHUB_SERVER_URL", ""), os.environ["GITHUB_REPOSITORY"]
        return f"[{text}]({server}/{repository}/blob/main/{path}{anchor})"

    return LINK.sub(replaced, markdown)
