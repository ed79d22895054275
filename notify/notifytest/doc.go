// Package notifytest has receivers for tests of what sends messages: a mail
// server with a switch for each fault, a Slack that follows the documented
// protocol and refuses what Slack refuses, a recorder, and a suite that checks
// the obligations of a [notify.Notifier].
//
// Most readers want [Recorder] for the tests of a service, and [Run] for those
// of a receiver of their own.
//
// Everything listens on loopback, on a port that the kernel picks.
package notifytest
