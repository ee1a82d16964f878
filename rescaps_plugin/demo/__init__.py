"""The page of ``rescaps demo``: published models in a browser, by Gradio."""
