"""Console script ``rescaps``: run the tools by name, from an installed wheel or from a clone."""

import ast
import difflib
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from types import ModuleType

import rescaps_plugin

PACKAGE = Path(rescaps_plugin.__file__).parent
# Folder of configs/ and tools/: a wheel has them in .mim, as OpenMMLab's packages do, a clone beside the package.
ROOT = PACKAGE / '.mim' if (PACKAGE / '.mim').is_dir() else PACKAGE.parent


def main() -> None:
    """Run the tool that the command line names, or list the tools.

    Raises:
        SystemExit: As the tool does; with status 2 if there is no such tool.
    """
    name, *arguments = sys.argv[1:] or ['--help']
    tools = {path.stem.replace('_', '-'): path for path in sorted(ROOT.glob('tools/*.py'))}
    command = name.replace('_', '-')
    if command in tools:
        try:
            _run(tools[command], f'rescaps {command}', arguments)
        except KeyboardInterrupt:  # during the imports of the tool, which handles it later
            print('interrupted.', file=sys.stderr)
            sys.exit(130)
    elif name.startswith('-'):
        _create_parser(tools).parse_args([name])
    else:
        close = ', '.join(difflib.get_close_matches(command, tools))
        hint = f'Close: {close}.' if close else 'rescaps --help lists the commands.'
        print(f'error: rescaps has no command {name}. {hint}', file=sys.stderr)
        sys.exit(2)


def _run(path: Path, name: str, arguments: list[str]) -> None:
    """Run a file as ``python FILE`` does, but with a name of our own in usage and error lines, unlike :mod:`runpy`."""
    module = ModuleType('__main__')
    module.__file__ = str(path)
    sys.modules['__main__'] = module
    sys.argv = [name, *arguments]
    exec(compile(path.read_bytes(), path, 'exec'), vars(module))


def _create_parser(tools: dict[str, Path]) -> ArgumentParser:
    """Create the parser that prints the help, from the docstrings of the tools, and the version."""
    parser = ArgumentParser(
        'rescaps',
        description='Train, evaluate and export capsule networks.',
        epilog='rescaps COMMAND --help describes the arguments of a command. rescaps::FAMILY/NAME.py names a config\n'
        'of this project, for instance rescaps::rescaps/digits.py.',
        formatter_class=RawDescriptionHelpFormatter,  # leaves the folder that --version prints in one line
    )
    parser.add_argument('--version', action='version', version=f'rescaps {rescaps_plugin.__version__} from {ROOT}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND')
    for name, path in tools.items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
        commands.add_parser(name, help=docstring.partition('\n')[0].replace('%', '%%'))
    return parser
