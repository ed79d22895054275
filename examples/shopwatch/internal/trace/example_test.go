package trace_test

import (
	"context"
	"fmt"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
)

func ExampleContext() {
	c, ok := trace.Parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	ctx := trace.With(context.Background(), c.Child())
	fmt.Println(ok, trace.From(ctx).TraceID())
	// Output: true 4bf92f3577b34da6a3ce929d0e0e4736
}
