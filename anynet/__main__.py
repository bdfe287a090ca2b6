import sys

from anynet.cli import main

sys.exit(main())
