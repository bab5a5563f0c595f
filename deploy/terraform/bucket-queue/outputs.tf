output "queue_url" {
  description = "For ENLARGER_EVENT_QUEUES."
  value       = aws_sqs_queue.events.url
}

output "dead_letter_queue_url" {
  description = "Where messages end that nobody took; they can be moved back from there."
  value       = aws_sqs_queue.dead.url
}

output "poll_policy_arn" {
  description = "What the scheduler's role needs to poll the queue and to list the bucket."
  value       = aws_iam_policy.poll.arn
}
