package logging_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// nowhere is a sink that takes everything.
type nowhere struct{ raw bool }

func (nowhere) Limits() logging.Limits                     { return logging.Limits{MaxEventBytes: 1 << 20} }
func (nowhere) Send(context.Context, *logging.Batch) error { return nil }
func (n nowhere) Raw() bool                                { return n.raw }

func (nowhere) SendRaw(context.Context, string, *io.SectionReader) error { return nil }

// BenchmarkShipper measures what shipping costs before a request is made, per
// event of 282 bytes.
func BenchmarkShipper(b *testing.B) {
	for _, raw := range []bool{true, false} {
		b.Run(fmt.Sprint("raw=", raw), func(b *testing.B) {
			dir := b.TempDir()
			f := open(b, filepath.Join(dir, "app.log"), &logging.FileOptions{FlushEvery: 1e9})
			line := `{"n":1,"x":"` + strings.Repeat("x", 267) + `"}`
			for range b.N {
				put(b, f, line)
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
			s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: nowhere{raw}})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			res, err := s.SendBulk(b.Context())
			if err != nil || res.Events != int64(b.N) {
				b.Fatalf("%+v, %v", res, err)
			}
		})
	}
}
