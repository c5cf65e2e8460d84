"""How uvicorn runs the application."""

import ssl
from typing import Any

import uvicorn

from edgechat.errors import ConfigError
from edgechat.settings import Settings


def config(settings: Settings, app: Any) -> uvicorn.Config:
    """uvicorn's side of the settings. Forwarded addresses are read only where proxies are named."""
    return uvicorn.Config(
        app,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


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
        raise ConfigError(f"the certificate {settings.tls_cert} or its key cannot be used: {error}.") from None
