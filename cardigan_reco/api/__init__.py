from cardigan_reco.exceptions import MissingExtra

try:
    import rest_framework  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra("cardigan_reco.api", "drf") from error
