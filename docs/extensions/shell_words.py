"""Colors for blocks of bash: in `pixi add -e test pytest`, the word `test` is the name of an environment, not a command."""

from collections.abc import Iterator

from pygments.lexers.shell import BashLexer
from pygments.token import Text, Token, _TokenType
from sphinx.application import Sphinx

ONLY_FIRST = (Token.Keyword, Token.Name, Token.Number)


class ShellWords(BashLexer):
    """Pygments' lexer for bash, which finds its keywords, commands and variables only where a command begins."""

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        begins = True
        for index, token, value in super().get_tokens_unprocessed(text):
            if not begins and value[0].isalnum() and any(token in kind for kind in ONLY_FIRST):
                token = Text
            yield index, token, value
            if value.strip(" "):
                begins = value.endswith(("\n", ";", "|", "&", "(")) and not value.startswith("\\")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_lexer("bash", ShellWords)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
