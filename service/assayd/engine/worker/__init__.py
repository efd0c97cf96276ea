"""Models in processes of their own. What touches a model's bytes happens in a worker; the front only talks to it.

Front: `backend` (the models), `process` (one worker), `spawn`. Worker: `__main__`, `limits`, `child`. Both: `messages`,
`codec`, `arrays`, `frames`, `memory`, `failures`. A worker may have been taken over by its model, so that the front
believes nothing of what it says before `codec` has typed it and `vet` has found it plausible.
"""
