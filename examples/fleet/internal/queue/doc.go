// Package queue is a work queue for pages on NATS JetStream.
//
// Three streams make it up:
//
//	FLEET_JOBS     what is to be fetched. A job leaves when it is acknowledged.
//	               One that rests is a message with a time, that nobody is given.
//	FLEET_RESULTS  what was fetched, one message per job.
//	FLEET_DEAD     what was given up, with the reason.
//
// What holds:
//
//   - A job that Publish counted is stored, and stays until its result or its
//     dead letter is stored: at least once. A worker that dies between the two
//     makes a repeat, which costs one fetch and changes nothing: a result has a
//     subject of its own, and the server refuses a second one.
//   - A job is tried MaxDeliver times at most, crashes of its worker included,
//     and waiting not; then it is a dead letter. No job stays behind in the stream.
//   - Publishers wait while the stream is full, workers are given no more than
//     they can work at.
package queue
