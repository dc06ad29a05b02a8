"""What tests of many folders share: bundles and films, screeners that do as they are told, processes, services and archives.

A folder's own helpers stay in the folder.
"""
