module github.com/svcblocks/svcblocks/examples/service

go 1.26.0

require (
	github.com/svcblocks/svcblocks v0.0.0
	golang.org/x/sync v0.24.0
)

require (
	github.com/andybalholm/brotli v1.2.8 // indirect
	github.com/cretz/bine v0.2.0 // indirect
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pelletier/go-toml/v2 v2.4.3 // indirect
	github.com/wneessen/go-mail v0.8.1 // indirect
	go.yaml.in/yaml/v3 v3.0.3 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/svcblocks/svcblocks => ../..
