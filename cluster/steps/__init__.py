"""The steps of the work, each once: a frozen config and `run(config, ...) -> result`.

The command line and the pipeline are skins over them: their flags and keys are the fields of the config, with its defaults.
"""
