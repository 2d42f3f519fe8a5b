from django.apps import AppConfig


class CardiganRecoConfig(AppConfig):
    name = "cardigan_reco"
    verbose_name = "Visual recommendations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, signals

        checks.connect()
        signals.connect()
