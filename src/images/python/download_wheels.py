"""Runs pip, which is a wheel itself, in this process: `download_wheels.py PIP_WHEEL ARGUMENT…`.

pip builds what it finds no wheel for, by programs that come with the sources; a wheel may even name such sources as what
it depends on. Nothing that a package brings may run here, so pip can start no program at all.
"""
import runpy
import sys

STARTS_A_PROGRAM = {'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.spawn', 'os.system', 'subprocess.Popen'}


def refuse(event, arguments):
    if event in STARTS_A_PROGRAM:
        raise PermissionError('%s: packages are not built from sources here' % event)


sys.addaudithook(refuse)
del sys.argv[0]
sys.path.insert(0, sys.argv[0])
sys.argv[0] = 'pip'
runpy.run_module('pip', run_name='__main__')
