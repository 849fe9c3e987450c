"""What people and programs are shown: JSON documents made of the model, and text made of those documents.

Every document has a `schema`; fields are added, never renamed. The text says nothing that the document does not.
Modules that only turn a document into text import nothing of the model, so that `gitopsd status` starts quickly.
"""
