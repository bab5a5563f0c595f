variable "bucket" {
  description = "The bucket whose new objects are told of; it has to exist."
  type        = string
}

variable "name" {
  description = "Name of the queue; the dead-letter queue and the policy begin with it."
  type        = string
  default     = "enlarger-events"
}

variable "filter_prefix" {
  description = "Only keys that begin so are told of."
  type        = string
  default     = null
}

variable "filter_suffix" {
  description = "Only keys that end so are told of."
  type        = string
  default     = null
}

variable "max_receive_count" {
  description = "Deliveries of a message that nobody takes before it goes to the dead-letter queue."
  type        = number
  default     = 10
}

variable "tags" {
  description = "Tags of all that is made."
  type        = map(string)
  default     = {}
}
