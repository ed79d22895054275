//go:build nodemo

package playground

import (
	"context"
	"log/slog"
)

// Playground is nothing in this build.
type Playground struct{}

// Start returns [ErrLeftOut].
func Start(context.Context, *slog.Logger) (*Playground, error) { return nil, ErrLeftOut }

// Addresses is never reached: there is no Playground in this build.
func (*Playground) Addresses() (Addresses, error) { return Addresses{}, ErrLeftOut }

// Seen returns nothing.
func (*Playground) Seen() Seen { return Seen{} }

// Close does nothing.
func (*Playground) Close() error { return nil }
