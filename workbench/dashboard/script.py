"""What Streamlit runs for every visitor and every click: the site."""

from workbench.dashboard.site import open_site

open_site()
