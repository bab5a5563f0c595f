# A bucket's events, in a queue that Enlarger polls (ENLARGER_EVENT_QUEUES).

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_s3_bucket" "watched" {
  bucket = var.bucket
}

resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead"
  message_retention_seconds = 1209600 # the most that SQS allows: two weeks
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_sqs_queue" "events" {
  name                       = var.name
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 5
  sqs_managed_sse_enabled    = true # S3 can't send to a queue under an AWS-managed KMS key
  tags                       = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.max_receive_count
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.events.arn]
  })
}

# Only this bucket, of this account, may send.
data "aws_iam_policy_document" "send" {
  statement {
    sid       = "BucketSends"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.events.arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [data.aws_s3_bucket.watched.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.id
  policy    = data.aws_iam_policy_document.send.json
}

# A bucket has one notification configuration: this replaces whatever it had.
resource "aws_s3_bucket_notification" "events" {
  bucket = data.aws_s3_bucket.watched.id

  queue {
    queue_arn     = aws_sqs_queue.events.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = var.filter_prefix
    filter_suffix = var.filter_suffix
  }

  depends_on = [aws_sqs_queue_policy.events]
}

# What the scheduler (or `enlarger events`) needs; attach it to its role.
data "aws_iam_policy_document" "poll" {
  statement {
    actions = [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes", # for `enlarger doctor`
    ]
    resources = [aws_sqs_queue.events.arn]
  }

  # `enlarger triggers backfill` lists the bucket.
  statement {
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = [data.aws_s3_bucket.watched.arn]
  }
}

resource "aws_iam_policy" "poll" {
  name   = "${var.name}-poll"
  policy = data.aws_iam_policy_document.poll.json
  tags   = var.tags
}
