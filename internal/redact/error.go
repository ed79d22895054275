package redact

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// showsIn reports whether the text of err or of one of its causes shows a
// secret that r knows.
func showsIn(r *Redactor, err error) bool {
	if r.IsZero() {
		return false
	}
	shown := false
	walk(err, func(e error) bool {
		_, clean := any(e).(*cleanError) // this one, not one below it
		shown = shown || !clean && r.Shows(e.Error())
		return !shown && !clean
	})
	return shown
}

// walk calls visit with err and its causes, depth first, as errors.As does. It
// goes below an error only where visit returns true.
func walk(err error, visit func(error) bool) {
	if err == nil || !visit(err) {
		return
	}
	switch x := any(err).(type) { // this is the walk itself
	case interface{ Unwrap() error }:
		walk(x.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			walk(e, visit)
		}
	}
}

// cleanError is an error without secrets in front of one with them. It does
// not unwrap: whoever walks a chain by hand, as %+v of some types does, would
// print the causes.
type cleanError struct {
	text  string
	red   *Redactor
	cause func() error // a function, so that dumpers by reflection stop here
}

// Error returns the text without secrets.
func (e *cleanError) Error() string { return e.text }

// Format writes the text without secrets for every verb.
func (e *cleanError) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), e.text)
}

// Is reports whether target is among the causes.
func (e *cleanError) Is(target error) bool { return errors.Is(e.cause(), target) }

// As sets target to the first cause of its type that shows no secret.
func (e *cleanError) As(target any) bool {
	into := reflect.ValueOf(target).Elem()
	found := false

	walk(e.cause(), func(cause error) bool {
		switch {
		case found:
			return false
		case !reflect.TypeOf(cause).AssignableTo(into.Type()):
			if x, ok := cause.(interface{ As(target any) bool }); ok && !showsIn(e.red, cause) && x.As(target) {
				found = true
			}
		case !showsIn(e.red, cause):
			into.Set(reflect.ValueOf(cause))
			found = true
		default:
			if reflect.TypeFor[*answers]().AssignableTo(into.Type()) {
				into.Set(reflect.ValueOf(&answers{cleanError: e, of: func() error { return cause }}))
				found = true
			}
		}
		return !found
	})

	return found
}

// answers stands for a cause that shows a secret: it says what that says about
// trying again, and has the text without secrets.
type answers struct {
	*cleanError
	of func() error
}

// Temporary reports whether the cause calls itself temporary.
func (a *answers) Temporary() bool {
	t, ok := a.of().(interface{ Temporary() bool })
	return ok && t.Temporary()
}

// Timeout reports whether the cause calls itself a timeout.
func (a *answers) Timeout() bool {
	t, ok := a.of().(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// RetryAfter returns the wait that the cause asks for.
func (a *answers) RetryAfter() time.Duration {
	if t, ok := a.of().(interface{ RetryAfter() time.Duration }); ok {
		return t.RetryAfter()
	}
	return 0
}
