"""edgechat under gunicorn, with one uvicorn worker:

    pip install '.[gunicorn]'   (in edgechat's folder)
    gunicorn -c deploy/gunicorn.conf.py

Settings of edgechat come from config.toml in its home folder and from EDGECHAT_*. Only the address is set here.
"""

wsgi_app = "edgechat.gunicorn:create()"
worker_class = "edgechat.gunicorn.Worker"
workers = 1  # conversations have one writer; a second process would be refused
bind = "127.0.0.1:8080"
timeout = 120  # seconds without a sign of life, after which the process is replaced
graceful_timeout = 20  # the setting `drain` (10 s) and a little more
control_socket_disable = True  # nothing is steered by it
