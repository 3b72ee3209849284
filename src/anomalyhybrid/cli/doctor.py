def report(cache=None): return ["todo"]
