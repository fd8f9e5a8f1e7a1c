"""Files and objects: paths and URIs, what an output may replace, writing that is whole or not at all."""
