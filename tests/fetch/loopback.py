"""The process that fetches pictures, allowed what it never is: `python -m tests.fetch.loopback URL` asks that, too."""

import sys

from edgechat.fetch.child import main

if __name__ == "__main__":
    main(sys.argv[1:])
