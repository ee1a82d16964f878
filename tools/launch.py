"""Start the processes of a job on this machine, for dist_train.sh and dist_test.sh.

python tools/launch.py --nproc-per-node=2 --master-port=29500 tools/train.py CONFIG --launcher pytorch

Takes torchrun's arguments. Exits with the code of the process that failed first, whose own message states the reason,
or with 128 plus the number of the signal that ended this process.
"""

import sys

from torch.distributed import DistNetworkError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, run


def main(argv=None):
    args = get_args_parser().parse_args(argv)
    try:
        run(args)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        print(f'error: process {rank} of the job ended with exit code {code}; its message is above.', file=sys.stderr)
        sys.exit(code if code >= 0 else 128 - code)
    except DistNetworkError as error:
        where = f'{args.master_addr}, port {args.master_port}'
        sys.exit(
            f'error: the processes cannot meet at {where}: {str(error).splitlines()[0]} Where another job uses the '
            'port, set PORT to another one.'
        )


if __name__ == '__main__':
    main()
