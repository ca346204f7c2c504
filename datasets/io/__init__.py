"""Files of datasets: downloads, archives, pickles, folders of images."""
