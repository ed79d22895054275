// Package notifytest has receivers for tests of what sends messages: a mail
// server with a switch for each fault, a Slack that follows the documented
// protocol and refuses what Slack refuses, a recorder, a suite that checks the
// obligations of a [notify.Notifier], and one that holds a service's wiring of its
// hub to what people on call rely on.
//
// Most readers want [Recorder] for the tests of a service, [RunHub] for its routes
// and intervals, and [Run] for the tests of a receiver of their own.
//
// Everything listens on loopback, on a port that the kernel picks.
package notifytest
