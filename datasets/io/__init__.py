"""Files behind datasets: downloads, archives, pickles, folders of images."""
