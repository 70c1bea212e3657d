"""The one error a person is meant to read: what is wrong, where, what to do."""


class PipelineError(Exception):
    """Bad input, a device that does not answer, a file that is not what it says: one clear sentence.

    The command line prints the sentence on standard error and exits with 1; a flow run fails with it.
    """
