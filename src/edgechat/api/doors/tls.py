"""TLS: whether the server's certificate can be used. Apart from server.py, so that asking needs no web framework."""

import ssl

from edgechat.errors import ConfigError
from edgechat.settings import Settings


def check_tls(settings: Settings) -> None:
    """Raise ConfigError unless the certificate and its key, where there are any, can be used."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise ConfigError("the setting tls_key needs tls_cert beside it.")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.tls_cert, settings.tls_key, password=lambda: ""
        )
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error
        raise ConfigError(f"the certificate {settings.tls_cert} or its key cannot be used: {why}.") from None
