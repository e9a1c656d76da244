"""Whether coordinates of codes are factors of the data, one each."""
