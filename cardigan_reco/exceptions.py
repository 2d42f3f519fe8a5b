"""Everything that this package raises on purpose."""


class CardiganError(Exception):
    """Base of the package's exceptions.

    `args` are what the constructor takes: from them Celery and pickle make the exception anew in
    another process. The first is the message, unless `__str__()` makes it of them.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ImageError(CardiganError):
    """A picture can't be used. `code` is stable and fit for an API's answer."""

    code = "invalid_image"


class UnsupportedFormat(ImageError):
    """The bytes are not JPEG, PNG or WebP."""

    code = "unsupported_format"


class ImageTooLarge(ImageError):
    """The file holds more bytes than allowed."""

    code = "too_large"


class TooManyPixels(ImageError):
    """The picture has more pixels, or a longer side ratio, than allowed."""

    code = "too_many_pixels"


class Busy(CardiganError):
    """Nothing is free to encode a photo now. `retry_after_seconds` says when to try again."""

    code = "busy"

    def __init__(self, message: str, retry_after_seconds: int = 2) -> None:
        super().__init__(message, retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(CardiganError):
    """What a client asks for can't be done. `code` is stable and fit for an API's answer."""

    code = "invalid"


class InvalidUpload(InvalidRequest):
    """A form holds more files than one, files in other fields, or too many or too long fields."""


class UnknownFilter(InvalidRequest):
    """A filter isn't among those that the shop allows."""

    code = "unknown_filter"


class InvalidFilter(InvalidRequest):
    """A filter was given a value that it can't take, or too many.

    `name`: the filter's, or those of several; `text`: the value, where it is one.
    """

    code = "invalid_filter"

    def __init__(self, message: str, name: str, text: str = "") -> None:
        super().__init__(message, name, text)
        self.name = name
        self.text = text


class Conflict(CardiganError):
    """What a person saw has changed since, so that what they decided on it was not done."""

    code = "conflict"


class IndexProblem(CardiganError):
    """An index can't be built, or not be measured."""


class Locked(CardiganError):
    """Another session has a table for itself, for longer than anybody should wait."""


class CaptureError(CardiganError):
    """Triggers can't be installed or removed."""


class EncoderError(CardiganError):
    """An encoder can't be built or run: weights missing, network unknown, device absent."""


class DeviceLost(EncoderError):
    """The accelerator failed. Nothing in this process can use it again: start another."""


class InvalidVectors(EncoderError):
    """An encoder returned vectors that are zero or not finite.

    `rows`: their positions in the batch.
    """

    def __init__(self, message: str, rows: list[int]) -> None:
        super().__init__(message, rows)
        self.rows = rows


class MissingExtra(CardiganError, ImportError):
    """A feature needs packages that an extra of cardigan-reco installs."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)

    def __str__(self) -> str:
        feature, extra = self.args
        return f"{feature} needs more packages: pip install 'cardigan-reco[{extra}]'"
