module github.com/svcblocks/svcblocks/examples/service/deploy

go 1.26.0

replace (
	github.com/svcblocks/svcblocks => ../../../
	github.com/svcblocks/svcblocks/examples => ../../
)

require (
	github.com/google/go-cmp v0.7.0
	github.com/svcblocks/svcblocks v0.0.0
	go.uber.org/goleak v1.3.0
)

require golang.org/x/sys v0.49.0 // indirect
