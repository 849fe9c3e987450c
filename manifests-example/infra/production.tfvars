zone = "pictures.example.org"
