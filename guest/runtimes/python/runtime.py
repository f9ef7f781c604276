"""SnapFaaS's Python runtime: loads one function and answers its invocations, one at a time, while the VM lives.

Started by init (or by the `process` driver) with two inherited descriptors, both carrying frames:

    fd 3  function channel   host -> INVOKE, REHEARSE              RESULT | FAILURE -> host
    fd 4  control channel    init -> SEAL, LOAD, START, DRAINED    HELLO, LOADED, SEALED, STARTED, DONE -> init

What a function may rely on is in guest/CONTRACT.md. Python >= 3.9, standard library only. Modules, in the order in which
they act:

    snapfaas_main        the whole; this file is but its door
    snapfaas_channel     frames
    snapfaas_wrapper     LOAD: a program of the function's that starts the runtime
    snapfaas_load        LOAD: imports the handler
    snapfaas_original    how it is called, and what becomes of what it does: handlers of the original's style
    snapfaas_lambda      the same for AWS Lambda's, with snapfaas_lambda_json and snapfaas_lambda_log
    snapfaas_snapshot    SEAL and START: all between the import and the first invocation; snapshot_restore_py has the hooks
    snapfaas_generators  what is random in it, for a process that may be one of many copies
    snapfaas_serve       INVOKE
    snapfaas_context     the handler's second argument
    snapfaas_failure     exceptions as the host gets them
    snapfaas_output      what the function prints; the end of the process

All are imported before the function is: those that only failures need (`traceback`) when a failure happens. Then their
names are the function's.
"""
if __name__ == '__main__':
    # Nothing outside of this: children of multiprocessing import the parent's main file again, as `__mp_main__`.
    from snapfaas_main import run

    run()
