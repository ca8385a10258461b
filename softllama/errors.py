"""The errors that a user can cause. Knows exit codes. Imports nothing, so that every other module can raise them."""

C_MODULE = "softllama._shim"
C_MODULE_MISSING = (  # the message and the hint. Python finds a folder of sources first when it is started beside it
    "this softllama is a folder of sources, whose C module is not built",
    "work in another folder, or install it so that it can be used here: pip install --editable .",
)


class SoftLlamaError(Exception):
    """Base of every error that a user can cause.

    Attributes:
        message: what happened, with the numbers.
        hint: what to do or type; "" if nothing helps.
        exit_code: of the command line: 1, 2 for something typed wrongly, or 3 for an empty answer.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint and hasattr(self, "add_note"):  # from Python 3.11 on a traceback shows it
            self.add_note(f"Hint: {hint}")


class MixtureError(SoftLlamaError):
    """A mixture that is not one: bad weights, ids out of range, text that is not understood."""

    exit_code = 2


class PromptError(SoftLlamaError):
    """A prompt that cannot be encoded, or whose slots and mixtures do not fit."""

    exit_code = 2


class NotFiniteError(SoftLlamaError):
    """Logits or states are NaN or infinite.

    Attributes:
        index: of the input, if there were several.
    """

    index: int | None = None


class UsageError(SoftLlamaError):
    """An option or argument outside what is allowed."""

    exit_code = 2


class EmptyAnswerError(SoftLlamaError):
    """A generation that ended without an answer."""

    exit_code = 3


class ModelError(SoftLlamaError):
    """A model file that cannot be loaded, or that cannot take mixtures."""


class ContextError(SoftLlamaError):
    """The context is full, there is no memory for it, or llama.cpp could not evaluate a batch."""
